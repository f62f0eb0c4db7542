// SPDX-License-Identifier: Apache-2.0
// What is measured: one way from the client's pod to the server's. All are asked the same by the same programs.
import type { Lab } from '../lab.ts'
import type { SubjectDescription, SubjectName } from '../results.ts'

/** A subject at work in its lab. */
export interface RunningSubject {
  readonly name: SubjectName
  readonly lab: Lab
  /** All processes of the client's node that carry or steer the traffic: their CPU time counts. */
  sourcePids(): number[]
  /** The same on the server's node. */
  destinationPids(): number[]
  /** The process that carries the traffic on the client's node and the server's: its memory is asked. */
  dataPids(): { readonly source: number[]; readonly destination: number[] }
}

/** A subject that can be started any number of times. */
export interface Subject {
  readonly name: SubjectName
  readonly description: SubjectDescription
  /** Starts its processes in `lab`; traffic may take a moment until it passes (Lab.reachable). @throws Error */
  start(lab: Lab): Promise<RunningSubject>
}

/** A subject that cannot be had here, and why. */
export interface MissingSubject {
  readonly name: SubjectName
  readonly missing: string
}
