// SPDX-License-Identifier: Apache-2.0
// The duty of the leader that keeps the statuses in the cluster as they should be: looks after every translation, writes
// what differs, not more than so many per second. A new leader looks anew and, where all is as it should be, writes nothing.
import type { MeshError } from '../../mesh/errors/mesh-error.ts'
import { ApiError, type KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { Pause } from '../../mesh/runtime/pause.ts'
import { TokenBucket } from '../../mesh/runtime/token-bucket.ts'
import type { LeaderDuty } from '../leader.ts'
import type { MeshView } from '../mesh-view.ts'
import { desiredStatus, type StatusSettings } from './desired-status.ts'
import { isTransient, statusFailure } from './status-failure.ts'
import { MAX_PLANNED_STATUSES, type PlannedStatus, StatusPlanner } from './status-plan.ts'
import { StatusReport } from './status-report.ts'
import { type StatusApi, type WriteOutcome, writeStatus } from './status-writer.ts'
import { withdrawStatuses } from './withdraw-statuses.ts'

/** Its name; `/status` of admin asks for its report. */
export const STATUS_DUTY = 'write statuses'

const STATUS_BURST = 50 // statuses at once: a change that a person makes is told at once
const STATUSES_PER_SECOND = 20 // two requests each: an apiserver serves thousands
const REFILL_MS = (1000 * STATUS_BURST) / STATUSES_PER_SECOND
const PLAN_INTERVAL_MS = 500 // a burst of translations is looked at once
const PLAN_REST = 10 // times as long as a plan took: ten thousand policies are looked at less often
const LOOK_INTERVAL_MS = 60_000 // and without a translation: somebody may have given back a right
const REFUSED_RETRY_MS = 300_000 // what the apiserver refuses it refuses again
const RETRY_INITIAL_MS = 500 // after no answer, 429 or 5xx; nothing is written meanwhile
const RETRY_MAX_MS = 30_000 // longest of these waits, whatever a server asks for

/** What the duty is made of. */
export interface StatusDutyOptions {
  readonly mesh: MeshView
  readonly api: StatusApi & Pick<KubernetesClient, 'reload'>
  readonly settings: StatusSettings
  readonly clock: Clock
  /** Milliseconds that never step back. */
  readonly monotonicMs: () => number
  readonly log: Log
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Whether nobody comes after this controller. Never rejects. */
  readonly isRemoved: () => Promise<boolean>
}

/** Makes the duty. */
export function statusDuty(options: StatusDutyOptions): LeaderDuty {
  let run: StatusRun | null = null
  const report = new StatusReport()
  return {
    name: STATUS_DUTY,
    start: (fence) => {
      run = new StatusRun(options, report, fence)
    },
    stop: async () => {
      const ended = run
      run = null
      await ended?.stop()
      if (ended?.isLeading && (await options.isRemoved())) await ended.withdraw()
    },
    report: () => ({ isRunning: run !== null, ...report.read() }),
  }
}

/** The work of one leadership. */
class StatusRun {
  readonly #options: StatusDutyOptions
  readonly #report: StatusReport
  readonly #fence: () => string | null
  readonly #planner = new StatusPlanner()
  readonly #bucket: TokenBucket
  readonly #backoff: Backoff
  readonly #abort = new AbortController()
  /** Until there is something to look at. */
  readonly #idle: Pause
  /** Until writing goes on. */
  readonly #nap: Pause
  readonly #unlisten: () => void
  readonly #work: Promise<void>
  #isDirty = true
  /** What the last plan took. */
  #planMs = 0

  constructor(options: StatusDutyOptions, report: StatusReport, fence: () => string | null) {
    const { mesh, clock, monotonicMs, random } = options
    this.#options = options
    this.#report = report
    this.#fence = fence
    this.#idle = new Pause(clock)
    this.#nap = new Pause(clock)
    this.#bucket = new TokenBucket({ capacity: STATUS_BURST, perSecond: STATUSES_PER_SECOND }, monotonicMs())
    this.#backoff = new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS, random })
    this.#unlisten = mesh.onTranslated(() => {
      this.#isDirty = true
      this.#idle.wake()
    })
    this.#work = this.#run()
  }

  async stop(): Promise<void> {
    this.#unlisten()
    this.#abort.abort()
    this.#idle.wake()
    this.#nap.wake()
    await this.#work
  }

  get isLeading(): boolean {
    return this.#fence() !== null
  }

  /** Nobody will keep true what is said: it is taken back. */
  async withdraw(): Promise<void> {
    const { mesh, settings, api, clock, log } = this.#options
    if (!mesh.isTranslated) return
    const patches = desiredStatus(mesh, settings)
    const outcome = await withdrawStatuses(patches, { api, clock, fence: this.#fence })
    log.info({ ...outcome }, 'the controllers are removed: statuses are taken back')
  }

  get #isStopped(): boolean {
    return this.#abort.signal.aborted
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.#isDirty = false
      const waitMs = await this.#round().catch((err: unknown) => {
        // A defect must not end the duty, nor be silent.
        this.#options.log.error({ err }, 'statuses cannot be computed')
        return LOOK_INTERVAL_MS
      })
      const restMs = Math.max(PLAN_INTERVAL_MS, PLAN_REST * this.#planMs)
      await this.#sleep(restMs)
      if (!this.#isStopped && !this.#isDirty && waitMs > restMs) await this.#idle.wait(waitMs - restMs)
    }
  }

  /** Writes what is due; returns how long nothing will be. */
  async #round(): Promise<number> {
    const { mesh, settings, monotonicMs } = this.#options
    if (!mesh.isTranslated || this.#fence() === null) return LOOK_INTERVAL_MS
    const startedMs = monotonicMs()
    const patches = desiredStatus(mesh, settings)
    const { due, pending, waitMs } = this.#planner.plan(patches, mesh.objects, startedMs)
    this.#planMs = monotonicMs() - startedMs
    this.#report.planned(patches, pending)
    for (const planned of due) {
      // In bursts: every write comes back as a change, and fifty at once are translated once.
      if (!this.#bucket.take(monotonicMs())) {
        await this.#sleep(REFILL_MS - PLAN_INTERVAL_MS)
        return 0
      }
      // What changed meanwhile comes first.
      const isOld = this.#isDirty && monotonicMs() - startedMs >= PLAN_INTERVAL_MS
      if (this.#isStopped || this.#fence() === null || isOld) return 0
      if (!(await this.#write(planned))) return 0
    }
    const isWhole = due.length < MAX_PLANNED_STATUSES
    return isWhole ? Math.min(waitMs ?? LOOK_INTERVAL_MS, LOOK_INTERVAL_MS) : 0
  }

  /** False when the rest has to wait. */
  async #write(planned: PlannedStatus): Promise<boolean> {
    const { api, clock, monotonicMs } = this.#options
    let outcome: WriteOutcome
    try {
      const { signal } = this.#abort
      outcome = await writeStatus(planned.patch, { api, clock, fence: this.#fence, signal })
    } catch (error) {
      return this.#isStopped ? false : await this.#failed(planned, error)
    }
    this.#report.ended(planned, outcome, clock.nowMs)
    this.#backoff.reset()
    if (outcome === 'fenced') return false
    this.#planner.done(planned, monotonicMs())
    return true
  }

  async #failed(planned: PlannedStatus, cause: unknown): Promise<boolean> {
    const { api, clock, log, monotonicMs } = this.#options
    const failure: MeshError = statusFailure(planned.patch, cause)
    const isOfAll = isTransient(cause)
    const atMs = clock.nowMs
    log.warn({ err: failure, reason: failure.code }, 'a status is not written')
    if (!isOfAll) {
      this.#planner.failed(planned, monotonicMs(), REFUSED_RETRY_MS)
      this.#report.failed(planned, failure, atMs, REFUSED_RETRY_MS)
      return true
    }
    const askedMs = cause instanceof ApiError ? (cause.retryAfterMs ?? 0) : 0
    const waitMs = Math.max(this.#backoff.next(), Math.min(askedMs, RETRY_MAX_MS))
    this.#report.failed(planned, failure, atMs, waitMs)
    // A token may have ended, or the address changed.
    if (!(cause instanceof ApiError) || cause.status === 401) api.reload()
    await this.#sleep(waitMs)
    return false
  }

  async #sleep(ms: number): Promise<void> {
    if (!this.#isStopped) await this.#nap.wait(ms)
  }
}
