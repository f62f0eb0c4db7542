// SPDX-License-Identifier: Apache-2.0
// Reads the enrolment file: which pods this node serves, and where their network namespaces are. Pure; every mistake
// is reported with its line; a file with mistakes changes nothing.
//
//   pods:
//   - { uid: u1, name: front, namespace: shop, serviceAccount: front, netns: /run/netns/front }
//   - { uid: u2, name: cart, namespace: shop, serviceAccount: cart, address: 127.0.0.2 }   # without a namespace
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type YAMLMap } from 'yaml'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { parseIp } from '../../mesh/net/address.ts'
import type { PodInfo } from '../pods.ts'

/** More pods than any node runs. */
const MAX_PODS = 4096
const MAX_FILE_BYTES = 4 * 1024 * 1024
const REQUIRED = ['uid', 'name', 'namespace', 'serviceAccount'] as const

/** One pod to serve: in its own namespace, or on an address of this machine. */
export interface EnrolledPod extends PodInfo {
  /** Path of the network namespace; null when the pod shares the host's. */
  readonly netns: string | null
  /** Address its listeners are bound to when it shares the host's namespace. */
  readonly address: string | null
}

function readPod(map: YAMLMap, at: (message: string, field: string) => void): EnrolledPod | null {
  const fields = new Map<string, string>()
  let isGood = true
  const fail = (message: string, field: string): void => {
    isGood = false
    at(message, field)
  }
  for (const { key, value } of map.items) {
    const name = isScalar(key) ? String(key.value) : ''
    const isKnown = name === 'netns' || name === 'address' || REQUIRED.some((each) => each === name)
    if (!isKnown) fail('unknown field', name)
    else if (!isScalar(value) || typeof value.value !== 'string' || value.value === '')
      fail('must be a text', name)
    else fields.set(name, value.value)
  }
  for (const name of REQUIRED) if (!fields.has(name)) fail('is required', name)
  const netns = fields.get('netns') ?? null
  const address = fields.get('address') ?? null
  if ((netns === null) === (address === null)) fail('exactly one of netns and address is needed', 'netns')
  if (address !== null && parseIp(address) === undefined) fail('must be an IP address', 'address')
  const [uid = '', name = '', namespace = '', serviceAccount = ''] = REQUIRED.map(
    (each) => fields.get(each) ?? '',
  )
  return isGood ? { uid, name, namespace, serviceAccount, netns, address } : null
}

/** Reads the text of an enrolment file. `file` names it in the refusal. */
export function parseEnrolment(text: string, file: string): readonly EnrolledPod[] | Refusal {
  if (text.length > MAX_FILE_BYTES)
    return refuse('ENROLMENT_INVALID', `${file}: over ${MAX_FILE_BYTES} bytes`)
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true })
  const mistakes: string[] = document.errors.map(({ message }) => `${file}: ${message.split('\n')[0]}`)
  const lineOf = (offset: number): number => lines.linePos(offset).line
  const root = document.contents
  const list = isMap(root) ? root.get('pods', true) : null
  if (mistakes.length === 0 && !isSeq(list)) mistakes.push(`${file}:1: pods: must be a list`)
  const pods: EnrolledPod[] = []
  const uids = new Set<string>()
  for (const [index, item] of (isSeq(list) ? list.items : []).entries()) {
    if (!isMap(item) || index >= MAX_PODS) {
      mistakes.push(
        `${file}: pods[${index}]: ${isMap(item) ? `more than ${MAX_PODS} pods` : 'must be a map'}`,
      )
      break
    }
    const line = lineOf(item.range?.[0] ?? 0)
    const pod = readPod(item, (message, field) =>
      mistakes.push(`${file}:${line}: pods[${index}].${field}: ${message}`),
    )
    if (pod === null) continue
    if (uids.has(pod.uid)) mistakes.push(`${file}:${line}: pods[${index}].uid: '${pod.uid}' is there twice`)
    uids.add(pod.uid)
    pods.push(pod)
  }
  return mistakes.length > 0 ? refuse('ENROLMENT_INVALID', mistakes.join('\n')) : pods
}
