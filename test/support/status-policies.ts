// SPDX-License-Identifier: Apache-2.0
// YAML of policies for tests of how statuses are written.

/** So many policies of the namespace shop, called p0, p1 …; `methods` need layer 7. */
export function policiesYaml(count: number, methods = false): string {
  const operation = methods ? '{methods: [DELETE]}' : "{ports: ['8080']}"
  return Array.from(
    { length: count },
    (_, index) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p${index}, namespace: shop, uid: u${index}}
spec: {action: DENY, rules: [{to: [{operation: ${operation}}]}]}
`,
  ).join('---\n')
}
