// SPDX-License-Identifier: Apache-2.0
// Whether a pod is in the mesh: what its author wants (labels of pod and namespace), what the node's agent did
// (annotation), and what cannot be. SPEC HBONE §9.1 and design.md, "Enrolment".

import {
  decideEnrolment,
  ISTIO_MODE_LABEL,
  MODE_LABEL,
  MODES,
  type Mode,
  modeOfLabels,
  REDIRECTION_ANNOTATION,
  readMode,
} from '../../mesh/model/enrolment.ts'
import { nearest } from '../../mesh/model/finding.ts'
import type { ConfigObject } from '../watch/config-object.ts'
import type { Notes } from './notes.ts'
import { quote } from './notes.ts'
import type { TranslateSettings } from './translation.ts'

export interface Enrolment {
  readonly isEnrolled: boolean
  /** Speaks HBONE itself. */
  readonly isNativeTunnel: boolean
}

/** Where a pod is. */
export interface PodPlace {
  readonly namespace: ConfigObject | undefined
  readonly isHostNetwork: boolean
}

const OBSTACLES = {
  'host-network': 'it shares the network of its node',
  sidecar: 'it has a sidecar',
} as const

/** What the labels of one object want; undefined when they say nothing. Contradictions and unknown modes are noted. */
export function modeOf(object: ConfigObject | undefined, notes: Notes): Mode | undefined {
  if (object === undefined) return undefined
  const { labels } = object.metadata
  for (const label of [MODE_LABEL, ISTIO_MODE_LABEL]) noteUnknownMode(labels, label, notes)
  const [ours, theirs] = [readMode(labels, MODE_LABEL), readMode(labels, ISTIO_MODE_LABEL)]
  if (ours !== undefined && theirs !== undefined && ours !== theirs) {
    notes.add(
      'CONTRADICTION',
      `metadata.labels.${MODE_LABEL}`,
      `${MODE_LABEL} says ${ours}, ${ISTIO_MODE_LABEL} says ${theirs}: ${ours} counts`,
      'remove one of the labels',
    )
  }
  return modeOfLabels(labels)
}

/** Decides on one pod. */
export function enrolmentOf(
  pod: ConfigObject,
  { namespace, isHostNetwork }: PodPlace,
  { enrolmentIsTold }: Pick<TranslateSettings, 'enrolmentIsTold'>,
  notes: Notes,
): Enrolment {
  const { labels, annotations } = pod.metadata
  const own = modeOf(pod, notes)
  const namespaceLabels = namespace?.metadata.labels
  const verdict = decideEnrolment({ labels, annotations, isHostNetwork, namespaceLabels })
  if (verdict === 'host-network' || verdict === 'sidecar') {
    if (own === 'ambient') {
      const message = `the pod cannot be enrolled: ${OBSTACLES[verdict]}`
      notes.add(
        'NOT_ENROLLABLE',
        `metadata.labels.${MODE_LABEL}`,
        message,
        'remove the label, or the obstacle',
      )
    }
    return { isEnrolled: false, isNativeTunnel: false }
  }
  if (verdict === 'native') return { isEnrolled: true, isNativeTunnel: true }
  // The fact counts: a tunnel to a pod that its node has not enrolled yet, or not any more, ends nowhere.
  const isRedirected = annotations[REDIRECTION_ANNOTATION] === 'enabled'
  // Where nobody tells the fact, the wish has to do; an agent of Istio's may be told by other means than labels.
  const isWanted = verdict === 'wanted' || (verdict === 'unsaid' && isRedirected)
  return { isEnrolled: enrolmentIsTold ? isRedirected : isWanted, isNativeTunnel: false }
}

function noteUnknownMode(labels: Readonly<Record<string, string>>, label: string, notes: Notes): void {
  const text: unknown = labels[label]
  if (typeof text !== 'string' || text === '' || readMode(labels, label) !== undefined) return
  const near = nearest(text, MODES)
  const fix = near === '' ? 'use ambient or none' : `did you mean ${quote(near)}?`
  notes.add('INVALID_VALUE', `metadata.labels.${label}`, `${quote(text)} is no mode; it is ignored`, fix)
}
