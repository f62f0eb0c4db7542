// SPDX-License-Identifier: Apache-2.0
// The pickers of one destination: among its endpoints, or among its waypoints and then their instances.
// Made once per DestinationView and worker; a new view makes a new one.
import type { Candidate, DestinationView, WaypointView } from '../model/destination.ts'
import type { MakePicker, Picker } from './picker.ts'
import { roundRobin } from './round-robin.ts'

/** Chooses where connections to one destination go. */
export class DestinationPicker {
  readonly #endpoints: Picker<Candidate>
  readonly #waypoints: Picker<WaypointView>
  readonly #instances = new Map<WaypointView, Picker<Candidate>>()

  constructor(view: DestinationView, random: () => number, makePicker: MakePicker = roundRobin) {
    this.#endpoints = makePicker(view.candidates, random)
    this.#waypoints = makePicker(view.waypoints, random)
    for (const waypoint of view.waypoints)
      this.#instances.set(waypoint, makePicker(waypoint.candidates, random))
  }

  pickEndpoint(tried: ReadonlySet<string> | null): Candidate | null {
    return this.#endpoints.pick(tried)
  }

  /** One waypoint by its share of the connections. */
  pickWaypoint(): WaypointView | null {
    return this.#waypoints.pick(null)
  }

  /** One instance of a waypoint that pickWaypoint returned. */
  pickInstance(waypoint: WaypointView, tried: ReadonlySet<string> | null): Candidate | null {
    return this.#instances.get(waypoint)?.pick(tried) ?? null
  }
}
