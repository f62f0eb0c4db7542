// SPDX-License-Identifier: Apache-2.0
// What the CNI plugin writes about a new pod. Pure. Only root writes there, but a mistake must not reach another pod.
import { type Refusal, refuse } from '../../../../mesh/errors/refusal.ts'

/** Of a request: a path, and the arguments of the runtime. */
export const MAX_CNI_REQUEST_BYTES = 4096
/** Of the name of anything in Kubernetes. */
const MAX_TEXT_LENGTH = 253
const NAME = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/
const UID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** The kubelet's own, of a pod that it reads from a file. */
const STATIC_UID = /^[0-9a-f]{32}$/
/** Where runtimes keep namespaces. SPEC CNI "CNI_NETNS": a path. */
const KEPT_NAMESPACE = /^\/(?:var\/)?run\/(?<rest>(?:docker\/)?netns\/[A-Za-z0-9][A-Za-z0-9_.-]{0,127})$/
const PROCESS_NAMESPACE = /^\/proc\/(?<pid>[1-9]\d{0,9})\/ns\/net$/

/** A pod as a runtime names it. */
export interface PodName {
  readonly namespace: string
  readonly name: string
  /** null: the runtime does not say, or it is not the apiserver's. */
  readonly uid: string | null
}

/** A pod that is being made. */
export interface CniRequest {
  readonly pod: PodName
  /** The path of its network namespace on the node. */
  readonly netns: string
}

/** Reads one; never throws. */
export function parseCniRequest(text: string): CniRequest | Refusal {
  const [, netns = '', args = ''] = /^netns=([^\n]*)\nargs=([^\n]*)\n$/.exec(text) ?? []
  if (!KEPT_NAMESPACE.test(netns) && !PROCESS_NAMESPACE.test(netns)) return invalid('netns is none', netns)
  const values = new Map<string, string>()
  for (const pair of args.split(';').filter((each) => each !== '')) {
    const [key = '', value = ''] = pair.split(/=(.*)/s)
    if (values.has(key)) return invalid('an argument is given twice', key)
    values.set(key, value)
  }
  const namespace = values.get('K8S_POD_NAMESPACE') ?? ''
  const name = values.get('K8S_POD_NAME') ?? ''
  for (const each of [namespace, name])
    if (each.length > MAX_TEXT_LENGTH || !NAME.test(each)) return invalid('the pod has no name', each)
  const uid = values.get('K8S_POD_UID') ?? ''
  if (uid !== '' && !UID.test(uid) && !STATIC_UID.test(uid)) return invalid('the uid is none', uid)
  return { pod: { namespace, name, uid: UID.test(uid) ? uid : null }, netns }
}

/** Where the namespace of a request is seen: `procPath` shows the processes of the node, and by the first of them its files. */
export function namespacePath(netns: string, procPath: string): string {
  const rest = KEPT_NAMESPACE.exec(netns)?.groups?.rest
  // Not by /var/run: where that is a symbolic link with an absolute target, it would lead to our own files.
  if (rest !== undefined) return `${procPath}/1/root/run/${rest}`
  return `${procPath}/${PROCESS_NAMESPACE.exec(netns)?.groups?.pid ?? ''}/ns/net`
}

function invalid(what: string, value: string): Refusal {
  return refuse('CNI_REQUEST_INVALID', `${what}: ${JSON.stringify(value.slice(0, MAX_TEXT_LENGTH))}`)
}
