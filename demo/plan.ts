// SPDX-License-Identifier: Apache-2.0
// What the demo is made of: its nodes, pods and addresses. Pure. The policy is the point: everybody may call cart, only
// batch may not.

/** Namespaces of the kernel, or this machine's loopback addresses. */
export type DemoMode = 'netns' | 'loopback'

export const TRUST_DOMAIN = 'cluster.local'
export const NAMESPACE = 'shop'
/** Where every service of the demo listens. */
export const SERVICE_PORT = 8080
/** The address of the service cart; nobody has it. */
export const CART_VIP = '10.96.0.10'
/** The policy that refuses batch, as records name it. */
export const DENY_POLICY = `${NAMESPACE}/batch-may-not-call-cart`

/** A pod: one process with one HTTP service. */
export interface DemoPod {
  readonly name: 'front' | 'batch' | 'legacy' | 'cart'
  readonly node: 'node1' | 'node2'
  readonly ip: string
  /** False: the mesh carries nothing of it. */
  readonly isEnrolled: boolean
}

/** The demo on paper. */
export interface DemoPlan {
  readonly mode: DemoMode
  readonly nodes: readonly DemoPod['node'][]
  readonly pods: readonly DemoPod[]
  /** Where the controller listens; '' = the address that the network gives its node. */
  readonly controllerIp: string
}

/**
 * Plans the demo. `subnet` (of loopback mode) is the middle of every address, so that two demos on one machine do
 * not meet.
 */
export function planDemo(mode: DemoMode, subnet = '77.1'): DemoPlan {
  const ip = (inCluster: string, host: number): string =>
    mode === 'netns' ? inCluster : `127.${subnet}.${host}`
  const pods: DemoPod[] = [
    { name: 'front', node: 'node1', ip: ip('10.1.0.2', 11), isEnrolled: true },
    { name: 'batch', node: 'node1', ip: ip('10.1.0.3', 12), isEnrolled: true },
    { name: 'cart', node: 'node2', ip: ip('10.2.0.2', 21), isEnrolled: true },
  ]
  // Nothing is redirected in loopback mode: the mesh would not see what this pod sends.
  if (mode === 'netns') pods.push({ name: 'legacy', node: 'node1', ip: '10.1.0.4', isEnrolled: false })
  return { mode, nodes: ['node1', 'node2'], pods, controllerIp: ip('', 1) }
}

/** The pod of that name. */
export function podOf(plan: DemoPlan, name: DemoPod['name']): DemoPod {
  const pod = plan.pods.find((each) => each.name === name)
  if (pod === undefined) throw new Error(`the demo has no pod ${name}`)
  return pod
}

/** The SPIFFE identity of a pod. */
export function identityOf(name: DemoPod['name']): string {
  return `spiffe://${TRUST_DOMAIN}/ns/${NAMESPACE}/sa/${name}`
}

/** The same as policies write it. */
export function principalOf(name: DemoPod['name']): string {
  return identityOf(name).slice('spiffe://'.length)
}

/** The pods a node serves. `netnsOf` gives the path of a pod's network namespace. */
export function enrolmentFile(
  plan: DemoPlan,
  node: DemoPod['node'],
  netnsOf: (pod: DemoPod) => string,
): string {
  const pods = plan.pods.filter((pod) => pod.node === node && pod.isEnrolled)
  const lines = pods.map((pod) => {
    const place = plan.mode === 'netns' ? `netns: ${netnsOf(pod)}` : `address: ${pod.ip}`
    const { name } = pod
    return `- { uid: demo-${name}, name: ${name}, namespace: ${NAMESPACE}, serviceAccount: ${name}, ${place} }\n`
  })
  return `pods:\n${lines.join('')}`
}
