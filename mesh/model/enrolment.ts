// SPDX-License-Identifier: Apache-2.0
// Whether a pod belongs to the mesh: what its author wants, and what cannot be. Who translates for the mesh and who enrols
// on the node decide by this one rule. Pure. SPEC HBONE §9.1 and design.md, "Enrolment".

/** What the author wants, on a pod or for a namespace; ours counts more than Istio's. */
export const MODE_LABEL = 'sidestep.dev/mode'
export const ISTIO_MODE_LABEL = 'istio.io/dataplane-mode'
/** Says that the pod has a proxy of its own. */
export const SIDECAR_ANNOTATION = 'sidecar.istio.io/status'
/** What the node's agent has done: `enabled`, or `pending` while no data process serves the pod. */
export const REDIRECTION_ANNOTATION = 'ambient.istio.io/redirection'
const TUNNEL_LABEL = 'networking.istio.io/tunnel'
export const MODES = ['ambient', 'none'] as const

export type Mode = (typeof MODES)[number]
type Texts = Readonly<Record<string, unknown>>

/** What decides about one pod. */
export interface EnrolmentFacts {
  readonly labels: Texts
  readonly annotations: Texts
  readonly isHostNetwork: boolean
  /** Of its namespace; undefined when that is not known. */
  readonly namespaceLabels: Texts | undefined
}

export type EnrolmentVerdict =
  /** Belongs to the mesh. */
  | 'wanted'
  /** Its author keeps it out. */
  | 'unwanted'
  /** Nobody has said anything. */
  | 'unsaid'
  /** Cannot: it shares the network of its node. */
  | 'host-network'
  /** Cannot: it has a sidecar. */
  | 'sidecar'
  /** Speaks HBONE itself: nothing is to be done for it. */
  | 'native'

/** The mode that one label says; undefined for none, and for a word that is no mode. */
export function readMode(labels: Texts, label: string): Mode | undefined {
  const text = labels[label]
  return MODES.find((each) => each === text)
}

/** What the labels of one object want; undefined when they say nothing. */
export function modeOfLabels(labels: Texts): Mode | undefined {
  return readMode(labels, MODE_LABEL) ?? readMode(labels, ISTIO_MODE_LABEL)
}

/** True when a workload says that it speaks HBONE itself. */
export function isNativeTunnel(labels: Texts): boolean {
  const value = labels[TUNNEL_LABEL]
  return typeof value === 'string' && value.split(',').some((each) => each.trim() === 'http')
}

/** Decides on one pod: what cannot be, then the pod's own word, then its namespace's. */
export function decideEnrolment(facts: EnrolmentFacts): EnrolmentVerdict {
  if (facts.isHostNetwork) return 'host-network'
  if (Object.hasOwn(facts.annotations, SIDECAR_ANNOTATION)) return 'sidecar'
  if (isNativeTunnel(facts.labels)) return 'native'
  const mode = modeOfLabels(facts.labels) ?? modeOfLabels(facts.namespaceLabels ?? {})
  if (mode === undefined) return 'unsaid'
  return mode === 'ambient' ? 'wanted' : 'unwanted'
}
