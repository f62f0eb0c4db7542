// SPDX-License-Identifier: Apache-2.0
// Whether connections of a pod inside its node may skip the tunnel: its author's wish (annotation of pod or namespace), and
// what stands against it. SPEC design.md, "Rules of behaviour" 4. The node judges certificates and the other end.
import { SAME_NODE_DIRECT } from '../../mesh/discovery/protocol.ts'
import { nearest } from '../../mesh/model/finding.ts'
import { denialCode } from '../../mesh/model/reserved-policy.ts'
import type { ConfigObject } from '../watch/config-object.ts'
import { type Notes, quote } from './notes.ts'

export const SAME_NODE_ANNOTATION = 'sidestep.dev/same-node'

const VALUES = ['direct', 'tunnel'] as const
const PATH = `metadata.annotations.${SAME_NODE_ANNOTATION}`

/** direct, or why not: `unasked` has nothing to tell. */
export type SameNodeVerdict = 'direct' | 'unasked' | SameNodeObstacle
type SameNodeObstacle = 'strict' | `networkpolicy:${string}`

/** What the annotation of one object says; undefined: nothing that can be read. Mistakes are noted. */
export function sameNodeWish(
  object: ConfigObject | undefined,
  notes: Notes | null,
): (typeof VALUES)[number] | undefined {
  const annotations: Readonly<Record<string, unknown>> = object?.metadata.annotations ?? {}
  const text = Object.hasOwn(annotations, SAME_NODE_ANNOTATION) ? annotations[SAME_NODE_ANNOTATION] : ''
  if (typeof text !== 'string' || text === '') return undefined
  const value = VALUES.find((each) => each === text)
  if (value === undefined) {
    const near = nearest(text, VALUES)
    const fix = near === '' ? `use ${VALUES.join(' or ')}` : `did you mean ${quote(near)}?`
    notes?.add('INVALID_VALUE', PATH, `${quote(text)} is no value of this annotation; it is ignored`, fix)
  }
  return value
}

/** Decides on one pod; its own word beats its namespace's. `networkPolicy` names one that selects it. */
export function sameNodeVerdict(
  pod: ConfigObject,
  namespace: ConfigObject | undefined,
  policies: readonly string[],
  networkPolicy: () => string | null,
): SameNodeVerdict {
  if ((sameNodeWish(pod, null) ?? sameNodeWish(namespace, null)) !== 'direct') return 'unasked'
  const isStrict = policies.some((key) => denialCode(key.slice(key.indexOf('/') + 1)) === 'PLAINTEXT_REFUSED')
  if (isStrict) return 'strict'
  const selecting = networkPolicy()
  return selecting === null ? 'direct' : `networkpolicy:${selecting}`
}

/** Extensions of the pod's workload; what keeps its author's wish from having an effect is noted. */
export function sameNodeExtensions(
  verdict: SameNodeVerdict,
  pod: ConfigObject,
  isEnrolled: boolean,
  notes: Notes,
): { readonly name: string }[] {
  const own = sameNodeWish(pod, notes)
  const add = (why: string, fix: string): void =>
    notes.add('SAME_NODE_IGNORED', PATH, `it has no effect: ${why}`, fix)
  if (verdict === 'unasked') return []
  if (!isEnrolled) {
    // A namespace may well have pods outside the mesh.
    if (own === 'direct') add('the pod is not enrolled', `enrol the pod, or remove the annotation`)
    return []
  }
  if (verdict === 'direct') return [{ name: SAME_NODE_DIRECT }]
  if (verdict === 'strict')
    add(
      'the pod was promised encryption by a strict PeerAuthentication',
      'make it permissive, or remove the annotation',
    )
  else {
    const name = quote(verdict.slice(verdict.indexOf(':') + 1))
    add(
      `the NetworkPolicy ${name} selects the pod and would be gone round`,
      'write it as AuthorizationPolicy, or remove the annotation',
    )
  }
  return []
}
