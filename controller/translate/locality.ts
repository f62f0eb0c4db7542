// SPDX-License-Identifier: Apache-2.0
// Where something runs: from the labels of its node, or as `region/zone/subzone` in Istio's kinds.
import type { ConfigObject } from '../watch/config-object.ts'

/** `region/zone/subzone` with empty parts at the end left out; '' is unknown. Text, so that equal ones are the same. */
export type LocalityText = string

export interface LocalityParts {
  readonly region: string
  readonly zone: string
  readonly subzone: string
}

const REGION = ['topology.kubernetes.io/region', 'failure-domain.beta.kubernetes.io/region']
const ZONE = ['topology.kubernetes.io/zone', 'failure-domain.beta.kubernetes.io/zone']
const SUBZONE = ['topology.istio.io/subzone']
const MAX_LABEL = 253 // Kubernetes allows 63; a source without an apiserver may not check that

/** A label of our own choice among several names for it; '' when none is set. Longer ones than can be are cut. */
export function labelOf(labels: Readonly<Record<string, unknown>>, keys: readonly string[]): string {
  for (const key of keys) {
    const value = labels[key]
    if (typeof value === 'string' && value !== '') return value.slice(0, MAX_LABEL)
  }
  return ''
}

export function nodeLocality(node: ConfigObject | undefined): LocalityText {
  if (node === undefined) return ''
  const { labels } = node.metadata
  return join(labelOf(labels, REGION), labelOf(labels, ZONE), labelOf(labels, SUBZONE))
}

/** What a spec says as `region/zone/subzone`; without a region there is no zone. */
export function parseLocality(text: LocalityText): LocalityParts | undefined {
  const [region = '', zone = '', subzone = ''] = text.split('/', 3).map((part) => part.slice(0, MAX_LABEL))
  return region === '' && zone === '' && subzone === '' ? undefined : { region, zone, subzone }
}

// A slash inside a label is no label of Kubernetes and would move the parts.
function join(...parts: readonly string[]): LocalityText {
  const text = parts.map((part) => part.replaceAll('/', '_')).join('/')
  return text.replace(/\/+$/, '')
}
