// SPDX-License-Identifier: Apache-2.0
// Reads the enrolment file: which pods this node serves, and where their network namespaces are. Pure; every mistake
// is reported with its line; a file with mistakes changes nothing.
//
//   pods:
//   - { uid: u1, name: front, namespace: shop, serviceAccount: front, netns: /run/netns/front }
//     # optional: dnsCapture (true, false), bypassInboundCapture (true), rerouteVirtualInterfaces (names, by commas)
//   - { uid: u2, name: cart, namespace: shop, serviceAccount: cart, address: 127.0.0.2 }   # without a namespace
import type { Node } from 'yaml'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { PodInfo } from '../../mesh/generations/pods.ts'
import { formatFinding } from '../../mesh/model/finding.ts'
import { type Fields, YamlReader } from '../../mesh/model/yaml-reader.ts'
import { parseIp } from '../../mesh/net/address.ts'
import { type PodRedirect, parseVirtualInterfaces } from './enroll/pod-redirect.ts'

/** More pods than any node runs. */
const MAX_PODS = 4096
const MAX_FILE_BYTES = 4 * 1024 * 1024
const REQUIRED = ['uid', 'name', 'namespace', 'serviceAccount'] as const
const REDIRECT = ['dnsCapture', 'bypassInboundCapture', 'rerouteVirtualInterfaces'] as const
const FIELDS = [...REQUIRED, 'netns', 'address', ...REDIRECT] as const

/** One pod to serve: in its own namespace, or on an address of this machine. */
export interface EnrolledPod extends PodInfo {
  /** Path of the network namespace; null when the pod shares the host's. */
  readonly netns: string | null
  /** Address its listeners are bound to when it shares the host's namespace. */
  readonly address: string | null
  /** What it wishes of its redirection; left out when nothing. */
  readonly redirect?: PodRedirect
}

/** Reads the text of an enrolment file. `file` names it in the refusal. */
export function parseEnrolment(text: string, file: string): readonly EnrolledPod[] | Refusal {
  if (text.length > MAX_FILE_BYTES)
    return refuse('ENROLMENT_INVALID', `${file}: over ${MAX_FILE_BYTES} bytes`)
  const reader = new YamlReader(text, file, [])
  const { root } = reader
  const fields = root === undefined ? undefined : reader.fields(root, '', ['pods'], ['pods'])
  const pods = fields === undefined ? [] : readPods(reader, fields)
  if (reader.findings.length > 0)
    return refuse('ENROLMENT_INVALID', reader.findings.map(formatFinding).join('\n'))
  // An empty file is one that is being written: taking it for "no pods" would cut every connection of the node.
  return root === undefined ? refuse('ENROLMENT_INVALID', `${file}: pods: required field is missing`) : pods
}

function readPods(reader: YamlReader, fields: Fields): EnrolledPod[] {
  const uids = new Set<string>()
  let count = 0
  return reader.list(fields, 'pods', (node, path) => {
    if (++count > MAX_PODS) {
      if (count === MAX_PODS + 1) reader.fail(node, path, `more than ${MAX_PODS} pods`)
      return undefined
    }
    const pod = readPod(reader, node, path)
    if (pod === undefined) return undefined
    if (uids.has(pod.uid)) reader.fail(node, `${path}.uid`, 'another pod of the file has this uid')
    uids.add(pod.uid)
    return pod
  })
}

function readPod(reader: YamlReader, node: Node, path: string): EnrolledPod | undefined {
  const fields = reader.fields(node, path, FIELDS, REQUIRED)
  if (fields === undefined) return undefined
  const text = (key: string): string => {
    const value = fields.get(key)
    if (value === undefined) return ''
    const found = reader.readText(value, fields.pathOf(key))
    if (found === '') reader.fail(value, fields.pathOf(key), 'must not be empty')
    return found ?? ''
  }
  const [uid = '', name = '', namespace = '', serviceAccount = ''] = REQUIRED.map(text)
  const [netns, address] = ['netns', 'address'].map((key) =>
    fields.get(key) === undefined ? null : text(key),
  )
  if ((netns === null) === (address === null))
    reader.fail(node, path, 'exactly one of netns and address is needed')
  const ip = address == null ? undefined : parseIp(address)
  if (address && ip === undefined)
    reader.fail(fields.get('address') ?? node, fields.pathOf('address'), 'must be an IP address')
  const redirect = readRedirect(reader, fields)
  const pod = { uid, name, namespace, serviceAccount, netns: netns ?? null, address: ip ?? null }
  return redirect === null ? pod : { ...pod, redirect }
}

/** What the annotations of a pod are in a cluster; null when nothing is said. */
function readRedirect(reader: YamlReader, fields: Fields): PodRedirect | null {
  if (!REDIRECT.some((key) => fields.get(key) !== undefined)) return null
  const interfaces = parseVirtualInterfaces(reader.text(fields, 'rerouteVirtualInterfaces'))
  const named = fields.get('rerouteVirtualInterfaces')
  if (named !== undefined && interfaces.length === 0)
    reader.fail(named, fields.pathOf('rerouteVirtualInterfaces'), 'expected names of interfaces')
  return {
    ...(fields.get('dnsCapture') !== undefined && { isDnsCaptured: reader.flag(fields, 'dnsCapture') }),
    ...(reader.flag(fields, 'bypassInboundCapture') && { isInboundBypassed: true }),
    ...(interfaces.length > 0 && { virtualInterfaces: interfaces }),
  }
}
