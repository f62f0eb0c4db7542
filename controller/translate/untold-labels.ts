// SPDX-License-Identifier: Apache-2.0
// Where routes and subsets name labels beyond those that waypoints are told of (see named-labels.ts): each place gets a finding. Pure.
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { Fields } from './fields.ts'
import { MAX_NAMED_LABELS } from './named-labels.ts'
import { Notes, quote } from './notes.ts'
import type { ConfigFinding } from './translation.ts'

/** kindKey() → the maps of labels in a spec, each with the field it is in. */
const PLACES: ReadonlyMap<string, (spec: Fields) => Fields[]> = new Map([
  [
    kindKey('networking.istio.io', 'VirtualService'),
    (spec) =>
      ['http', 'tls', 'tcp'].flatMap((form) =>
        spec.items(form).flatMap((rule) => rule.items('match').map((match) => match.fields('sourceLabels'))),
      ),
  ],
  [
    kindKey('networking.istio.io', 'DestinationRule'),
    (spec) => spec.items('subsets').map((subset) => subset.fields('labels')),
  ],
])

/** One finding for each place that names a label which is not told. */
export function untoldFindings(view: ConfigView, untold: ReadonlySet<string>): ConfigFinding[] {
  if (untold.size === 0) return []
  return [...PLACES].flatMap(([key, placesOf]) =>
    view.list(key).flatMap((object) => findingsOf(object, placesOf, untold)),
  )
}

function findingsOf(
  object: ConfigObject,
  placesOf: (spec: Fields) => Fields[],
  untold: ReadonlySet<string>,
): ConfigFinding[] {
  const notes = new Notes(object)
  // What is wrong with the spec otherwise is said by who translates it.
  for (const labels of placesOf(new Fields(object.spec, 'spec', new Notes(object))))
    for (const name of labels.keys()) {
      if (!untold.has(name)) continue
      notes.add(
        'LABEL_NOT_TOLD',
        labels.pathOf(name),
        `${quote(name)} is none of the first ${MAX_NAMED_LABELS} labels that routes and subsets name, so it matches nobody`,
        'name fewer labels in all sourceLabels and subsets together',
      )
    }
  return notes.findings
}
