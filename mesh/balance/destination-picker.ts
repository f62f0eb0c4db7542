// SPDX-License-Identifier: Apache-2.0
// The pickers of one destination: among its endpoints, or among its waypoints and then their instances.
// Made once per DestinationView and worker; a new view makes a new one.
import type { Candidate, DestinationView, WaypointView } from '../model/destination.ts'
import { endpointKey } from './demotions.ts'
import { MAX_PASSED_OVER } from './limits.ts'
import type { MakePicker, Picker } from './picker.ts'
import { roundRobin } from './round-robin.ts'

/** Says which endpoints are passed over now, by endpointKey. Who hears false goes there. */
export interface PassedOver {
  readonly isEmpty: boolean
  avoids(key: string): boolean
}
const NOBODY: PassedOver = { isEmpty: true, avoids: () => false }

/** Chooses where connections to one destination go. */
export class DestinationPicker {
  readonly #endpoints: Picker<Candidate>
  readonly #waypoints: Picker<WaypointView>
  readonly #instances = new Map<WaypointView, Picker<Candidate>>()
  readonly #passedOver: PassedOver

  /** `makeInstancePicker`: how waypoints' instances are chosen. */
  constructor(
    view: DestinationView,
    random: () => number,
    passedOver: PassedOver = NOBODY,
    makeInstancePicker: MakePicker = roundRobin,
  ) {
    this.#passedOver = passedOver
    this.#endpoints = roundRobin(view.candidates, random)
    this.#waypoints = roundRobin(view.waypoints, random)
    for (const waypoint of view.waypoints)
      this.#instances.set(waypoint, makeInstancePicker(waypoint.candidates, random))
  }

  pickEndpoint(tried: ReadonlySet<string> | null): Candidate | null {
    return this.#pick(this.#endpoints, tried)
  }

  /** One waypoint by its share of the connections. */
  pickWaypoint(): WaypointView | null {
    return this.#waypoints.pick(null)
  }

  /** One instance of a waypoint that pickWaypoint returned. */
  pickInstance(waypoint: WaypointView, tried: ReadonlySet<string> | null): Candidate | null {
    const instances = this.#instances.get(waypoint)
    return instances === undefined ? null : this.#pick(instances, tried)
  }

  /** One that is not passed over; when all are, one of them: a guess is better than a refusal. */
  #pick(picker: Picker<Candidate>, tried: ReadonlySet<string> | null): Candidate | null {
    const first = picker.pick(tried)
    if (first === null || this.#passedOver.isEmpty || !this.#isPassedOver(first)) return first
    const avoided = new Set(tried)
    for (let looks = 0; looks < MAX_PASSED_OVER; looks++) {
      const next = picker.pick(avoided)
      if (next === null) return first
      if (!this.#isPassedOver(next)) return next
      avoided.add(next.uid)
    }
    return first
  }

  #isPassedOver({ uid, authority, dial }: Candidate): boolean {
    return this.#passedOver.avoids(endpointKey(uid, authority === '' ? String(dial.port) : authority))
  }
}
