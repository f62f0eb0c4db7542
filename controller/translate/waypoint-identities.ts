// SPDX-License-Identifier: Apache-2.0
// As whom waypoints speak: the service accounts of the pods of a Gateway. Until it has pods, the account that it will be
// given, which has its name as far as it can. SPEC HBONE §9.2, §9.4.
import { type ConfigView, kindKey } from '../watch/config-object.ts'
import { Memo } from './memo.ts'
import { gatewayLabel, waypointObjectName } from './waypoint-names.ts'
import { GATEWAY_NAME, type WaypointName, waypointKey } from './waypoint-request.ts'

const POD = kindKey('', 'Pod')
const FINISHED: readonly unknown[] = ['Succeeded', 'Failed']

/** Principals of all waypoints of one mesh, across translations. */
export class WaypointIdentities {
  readonly #trustDomain: string
  readonly #lists = new Memo<readonly string[]>(keepEqualList)
  #accounts = new Map<string, Set<string>>()

  constructor(trustDomain: string) {
    this.#trustDomain = trustDomain
  }

  /** Begins a translation. */
  use(view: ConfigView): void {
    this.#lists.sweep()
    this.#accounts = new Map()
    for (const { metadata, spec, status } of view.list(POD)) {
      const name = metadata.labels[GATEWAY_NAME]
      if (name === undefined || FINISHED.includes(status.phase)) continue
      const key = waypointKey({ namespace: metadata.namespace, name })
      const accounts = this.#accounts.get(key) ?? new Set()
      this.#accounts.set(key, accounts)
      const { serviceAccountName } = spec
      accounts.add((typeof serviceAccountName === 'string' && serviceAccountName) || 'default')
    }
  }

  /** In order; the same array as long as they are the same. */
  of(waypoint: WaypointName): readonly string[] {
    const { namespace, name } = waypoint
    const accounts =
      this.#accounts.get(waypointKey({ namespace, name: gatewayLabel(name) })) ??
      new Set([waypointObjectName(name)])
    const sorted = [...accounts].toSorted()
    return this.#lists.get(waypointKey(waypoint), [sorted.join()], () =>
      sorted.map((account) => `${this.#trustDomain}/ns/${namespace}/sa/${account}`),
    )
  }

  /** One text for every waypoint with pods: what is the same as before means that nobody's principals changed. */
  all(): string[] {
    return [...this.#accounts]
      .map(([key, accounts]) => `${key} ${[...accounts].toSorted().join()}`)
      .toSorted()
  }
}

function keepEqualList(old: readonly string[], fresh: readonly string[]): readonly string[] {
  return old.length === fresh.length && old.every((each, index) => each === fresh[index]) ? old : fresh
}
