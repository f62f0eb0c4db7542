// SPDX-License-Identifier: Apache-2.0
// The files the demo's controller reads: Kubernetes' and Istio's objects as one would apply them. Pure.
import { CART_VIP, DENY_POLICY, type DemoPlan, NAMESPACE, principalOf, SERVICE_PORT } from './plan.ts'

/** The file with the policy, for the newcomer to edit. */
export const POLICY_FILE = 'policy.yaml'

/** Every file by its name. */
export function manifests(plan: DemoPlan): Readonly<Record<string, string>> {
  return { 'cluster.yaml': clusterYaml(plan), [POLICY_FILE]: policyYaml() }
}

function clusterYaml(plan: DemoPlan): string {
  const pods = plan.pods.map(
    ({ name, node, ip, isEnrolled }) => `---
apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: ${NAMESPACE}
  labels: { app: ${name}${isEnrolled ? '' : ', sidestep.dev/mode: none'} }
spec:
  nodeName: ${node}
  serviceAccountName: ${name}
  containers: [{ name: main }]
status:
  phase: Running
  podIP: ${ip}
  podIPs: [{ ip: ${ip} }]
  conditions: [{ type: Ready, status: "True" }]
`,
  )
  return `# What runs. In a cluster Kubernetes knows all this; label a namespace, and its pods are in the mesh.
apiVersion: v1
kind: Namespace
metadata:
  name: ${NAMESPACE}
  labels: { sidestep.dev/mode: ambient }
${pods.join('')}---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: ${NAMESPACE} }
spec:
  selector: { app: cart }
  clusterIP: ${CART_VIP}
  clusterIPs: [${CART_VIP}]
  ports: [{ name: http, port: 80, targetPort: ${SERVICE_PORT} }]
`
}

function policyYaml(): string {
  const [namespace, name] = DENY_POLICY.split('/')
  return `# Who may not call cart. Put front in the place of batch and save: the next calls go by it.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  selector: { matchLabels: { app: cart } }
  action: DENY
  rules:
    - from: [{ source: { principals: [${principalOf('batch')}] } }]
      to: [{ operation: { ports: ["${SERVICE_PORT}"] } }]
`
}
