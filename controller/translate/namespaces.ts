// SPDX-License-Identifier: Apache-2.0
// What Namespaces and Nodes add to what lives in them.
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { modeOf } from './enrolment.ts'
import { type LocalityText, nodeLocality } from './locality.ts'
import { Memo } from './memo.ts'
import { Notes } from './notes.ts'
import { sameNodeWish } from './same-node.ts'
import type { ConfigFinding } from './translation.ts'
import { requestedWaypoint } from './waypoint-request.ts'

const NODE = kindKey('', 'Node')
const NAMESPACE = kindKey('', 'Namespace')

/** Localities of nodes by name. */
export type Localities = ReadonlyMap<string, LocalityText>

/** Reads nodes and namespaces; across translations. */
export class Places {
  readonly #findings = new Memo<readonly ConfigFinding[]>()
  #localities: Localities = new Map()

  /** The same map as long as no node moved: what a node says besides changes all the time. */
  localities(view: ConfigView): Localities {
    const fresh = new Map(view.list(NODE).map((node) => [node.metadata.name, nodeLocality(node)]))
    const isSame =
      fresh.size === this.#localities.size &&
      [...fresh].every(([name, locality]) => this.#localities.get(name) === locality)
    if (!isSame) this.#localities = fresh
    return this.#localities
  }

  /** Namespaces by name. */
  namespaces(view: ConfigView): ReadonlyMap<string, ConfigObject> {
    return new Map(view.list(NAMESPACE).map((each) => [each.metadata.name, each]))
  }

  /** Mistakes in the labels and annotations of namespaces, once each. */
  findings(view: ConfigView): ConfigFinding[] {
    this.#findings.sweep()
    return view.list(NAMESPACE).flatMap((namespace) =>
      this.#findings.get(namespace.metadata.name, [namespace], () => {
        const notes = new Notes(namespace)
        modeOf(namespace, notes)
        requestedWaypoint(namespace, undefined, notes)
        sameNodeWish(namespace, notes)
        return notes.findings
      }),
    )
  }
}
