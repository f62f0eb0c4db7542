// SPDX-License-Identifier: Apache-2.0
// What only one of several replicas does. An election says which one it is (Redis: watch/leader-lock.ts); duties begin
// when it is us and end when it is not. Whatever a duty writes carries the fencing token, so that a replica that slept
// through its end changes nothing.
import type { Log } from '../mesh/runtime/log.ts'

/** Says whether this replica leads. */
export interface LeaderElection {
  /** The token of the present leadership, null while another leads or nobody. To be asked again after every wait. */
  readonly fence: string | null
  /** Begins to take part; `onChange` hears every change. Once. */
  start(onChange: (fence: string | null) => void): void
  /** Gives the lead up, so that another takes it at once. */
  stop(): Promise<void>
}

/** Something that must be done once, whatever the number of replicas. */
export interface LeaderDuty {
  readonly name: string
  /** Begins; `fence` is to be asked before every write and handed to it. Called again after every stop(). */
  start(fence: () => string | null): void
  /** Ends all work; nothing is written after it has resolved. */
  stop(): Promise<void>
  /** How far it is, for admin; as JSON. Also while it does not run. */
  report?(): unknown
}

/** The election of a replica that has no others. */
export function soleLeader(): LeaderElection {
  let fence: string | null = null
  return {
    get fence() {
      return fence
    },
    start: (onChange) => {
      fence = 'sole'
      onChange(fence)
    },
    stop: async () => {
      fence = null
    },
  }
}

/** Begins and ends duties as the lead comes and goes: never two of one at a time. */
export class LeaderDuties {
  readonly #election: LeaderElection
  readonly #duties: readonly LeaderDuty[]
  readonly #log: Log
  /** The leadership for which duties should run. */
  #wanted: string | null = null
  /** The leadership for which they do. */
  #running: string | null = null
  #isFollowing = false
  #work: Promise<void> = Promise.resolve()

  constructor(election: LeaderElection, duties: readonly LeaderDuty[], log: Log) {
    this.#election = election
    this.#duties = duties
    this.#log = log
  }

  get fence(): string | null {
    return this.#election.fence
  }

  /** What the duty of that name says; undefined when there is none, or it says nothing. */
  report(name: string): unknown {
    return this.#duties.find((duty) => duty.name === name)?.report?.()
  }

  start(): void {
    this.#election.start((fence) => {
      this.#log.info({ isLeader: fence !== null, fence }, 'the leader has changed')
      this.#want(fence)
    })
  }

  /** Duties end before the lead is given up: the next leader begins where they stopped. */
  async stop(): Promise<void> {
    this.#want(null)
    await this.#work
    await this.#election.stop()
    this.#want(null)
    await this.#work
  }

  #want(fence: string | null): void {
    this.#wanted = fence
    if (!this.#isFollowing) this.#work = this.#follow()
  }

  async #follow(): Promise<void> {
    this.#isFollowing = true
    while (this.#running !== this.#wanted) {
      if (this.#running !== null) await this.#stopAll()
      this.#running = this.#wanted
      const own = this.#running
      if (own === null) continue
      // A duty of an earlier leadership never sees the token of a later one.
      for (const duty of this.#duties) duty.start(() => (this.#election.fence === own ? own : null))
    }
    this.#isFollowing = false
  }

  async #stopAll(): Promise<void> {
    const ends = await Promise.allSettled(this.#duties.map((duty) => duty.stop()))
    for (const [index, end] of ends.entries())
      if (end.status === 'rejected')
        this.#log.error({ err: end.reason, duty: this.#duties[index]?.name }, 'a duty does not end')
  }
}
