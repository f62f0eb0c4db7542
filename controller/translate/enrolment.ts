// SPDX-License-Identifier: Apache-2.0
// Whether a pod is in the mesh: what its author wants (labels of pod and namespace), what the node's agent did
// (annotation), and what cannot be. SPEC HBONE §9.1 and design.md, "Enrolment".

import { nearest } from '../../mesh/model/finding.ts'
import type { ConfigObject } from '../watch/config-object.ts'
import type { Notes } from './notes.ts'
import { quote } from './notes.ts'

export const MODE_LABEL = 'sidestep.dev/mode'
export const ISTIO_MODE_LABEL = 'istio.io/dataplane-mode'
const SIDECAR_ANNOTATION = 'sidecar.istio.io/status'
const REDIRECTION_ANNOTATION = 'ambient.istio.io/redirection'
const TUNNEL_LABEL = 'networking.istio.io/tunnel'
const MODES = ['ambient', 'none'] as const

export type Mode = (typeof MODES)[number]

export interface Enrolment {
  readonly isEnrolled: boolean
  /** Speaks HBONE itself. */
  readonly isNativeTunnel: boolean
}

/** What the labels of one object want; undefined when they say nothing. Contradictions and unknown modes are noted. */
export function modeOf(object: ConfigObject | undefined, notes: Notes | null): Mode | undefined {
  if (object === undefined) return undefined
  const ours = readMode(object, MODE_LABEL, notes)
  const theirs = readMode(object, ISTIO_MODE_LABEL, notes)
  if (ours !== undefined && theirs !== undefined && ours !== theirs) {
    notes?.add(
      'CONTRADICTION',
      `metadata.labels.${MODE_LABEL}`,
      `${MODE_LABEL} says ${ours}, ${ISTIO_MODE_LABEL} says ${theirs}: ${ours} counts`,
      'remove one of the labels',
    )
  }
  return ours ?? theirs
}

/** True when a workload says that it speaks HBONE itself. */
export function isNativeTunnel(labels: Readonly<Record<string, string>>): boolean {
  const value: unknown = labels[TUNNEL_LABEL]
  return typeof value === 'string' && value.split(',').some((each) => each.trim() === 'http')
}

/** Decides on one pod. */
export function enrolmentOf(
  pod: ConfigObject,
  namespace: ConfigObject | undefined,
  isHostNetwork: boolean,
  notes: Notes,
): Enrolment {
  const { labels, annotations } = pod.metadata
  const own = modeOf(pod, notes)
  const obstacle = isHostNetwork
    ? 'it shares the network of its node'
    : Object.hasOwn(annotations, SIDECAR_ANNOTATION)
      ? 'it has a sidecar'
      : ''
  if (obstacle !== '') {
    if (own === 'ambient') {
      const message = `the pod cannot be enrolled: ${obstacle}`
      notes.add(
        'NOT_ENROLLABLE',
        `metadata.labels.${MODE_LABEL}`,
        message,
        'remove the label, or the obstacle',
      )
    }
    return { isEnrolled: false, isNativeTunnel: false }
  }
  if (isNativeTunnel(labels)) return { isEnrolled: true, isNativeTunnel: true }
  const wanted = own ?? modeOf(namespace, null)
  // Without a word of the author the agent's own mark says what is: Istio's may be told by other means than labels.
  const isRedirected = annotations[REDIRECTION_ANNOTATION] === 'enabled'
  return { isEnrolled: wanted === undefined ? isRedirected : wanted === 'ambient', isNativeTunnel: false }
}

function readMode(object: ConfigObject, label: string, notes: Notes | null): Mode | undefined {
  const text: unknown = object.metadata.labels[label]
  if (typeof text !== 'string' || text === '') return undefined
  const mode = MODES.find((each) => each === text)
  if (mode === undefined) {
    const near = nearest(text, MODES)
    const fix = near === '' ? 'use ambient or none' : `did you mean ${quote(near)}?`
    notes?.add('INVALID_VALUE', `metadata.labels.${label}`, `${quote(text)} is no mode; it is ignored`, fix)
  }
  return mode
}
