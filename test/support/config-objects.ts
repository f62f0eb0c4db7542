// SPDX-License-Identifier: Apache-2.0
// Objects as users write them, for tests of the sources of configuration.

/** A policy that a test may break. */
export function policyValue(name: string, extra: object = {}): Record<string, unknown> {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: 'shop' },
    spec: { action: 'DENY', rules: [{ to: [{ operation: { ports: ['8080'] } }] }], ...extra },
  }
}

export function serviceValue(name: string, port: unknown = 80, namespace = 'shop'): Record<string, unknown> {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, labels: { app: name } },
    spec: { ports: [{ name: 'http', port }] },
  }
}
