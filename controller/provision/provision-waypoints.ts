// SPDX-License-Identifier: Apache-2.0
// The duty of the leader that keeps waypoints running: looks after every translation, and now and then at what somebody
// may have deleted. What fails is told under /provision and tried again.
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { LeaderDuty } from '../leader.ts'
import type { MeshView } from '../mesh-view.ts'
import { boundFindings } from '../translate/bounded-findings.ts'
import type { ConfigFinding } from '../translate/translation.ts'
import { autoGateway, type UnusedGateway } from './auto-gateways.ts'
import { LeadLost, type ObjectApi, ProvisionWriter } from './object-writer.ts'
import { type ProvisionProblem, problemOf } from './provision-problem.ts'
import { type ApplyTask, autoKey, provisionTasks } from './tasks.ts'
import type { WaypointSettings } from './waypoint-objects.ts'
import { WorkQueue } from './work-queue.ts'

/** Its name among the duties. */
export const PROVISION_DUTY = 'provision waypoints'

const RESYNC_INTERVAL_MS = 20_000 // what somebody deleted is back within it: four reads each time cost the apiserver little
const REMOVE_DELAY_MS = 30_000 // an annotation that is replaced, or comes back, cuts nobody's traffic
const CONCURRENT_GATEWAYS = 4 // an apiserver that is slow is not made slower
const RETRY_INITIAL_MS = 250
const RETRY_MAX_MS = 20_000 // longest pause, also of what the apiserver asks for

/** Waits that tests shorten. */
export interface ProvisionTiming {
  readonly resyncMs: number
  readonly removeDelayMs: number
}

/** What the duty is made of. */
export interface ProvisionOptions {
  readonly mesh: MeshView
  readonly api: ObjectApi
  readonly settings: WaypointSettings
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
  readonly timing?: Partial<ProvisionTiming>
}

/** How far one task is. */
export interface TaskState {
  readonly name: string
  /** `pending`: not done yet. `applied`: as it should be when last looked at. */
  readonly state: 'pending' | 'applied' | 'failed'
  readonly problem: ProvisionProblem | null
}

/** What admin says under /provision. */
export interface ProvisionReport {
  /** False: another replica writes; the rest is empty. */
  readonly isActive: boolean
  readonly tasks: readonly TaskState[]
  /** Namespaces whose Gateway nobody names any more; it is deleted soon. */
  readonly unused: readonly string[]
  readonly findings: readonly ConfigFinding[]
}

/** Makes the duty. */
export function provisionWaypoints(options: ProvisionOptions): LeaderDuty {
  let run: Provisioning | null = null
  return {
    name: PROVISION_DUTY,
    start: (fence) => {
      run = new Provisioning(options, fence)
    },
    stop: async () => {
      const ended = run
      run = null
      await ended?.stop()
    },
    report: () => run?.report() ?? { isActive: false, tasks: [], unused: [], findings: [] },
  }
}

/** The work of one leadership. */
class Provisioning {
  readonly #options: ProvisionOptions
  readonly #timing: ProvisionTiming
  readonly #writer: ProvisionWriter
  readonly #queue: WorkQueue
  readonly #end = new AbortController()
  readonly #endListening: () => void
  #resync: ClockTimer
  #tasks: ReadonlyMap<string, ApplyTask> = new Map()
  readonly #states = new Map<string, TaskState>()
  /** By namespace: Gateways that nobody names; their timer, until they are due. */
  readonly #unused = new Map<string, { readonly gateway: UnusedGateway; timer: ClockTimer | null }>()
  #findings: readonly ConfigFinding[] = []

  constructor(options: ProvisionOptions, fence: () => string | null) {
    const { api, mesh, clock, random, timing } = options
    this.#options = options
    this.#timing = { resyncMs: RESYNC_INTERVAL_MS, removeDelayMs: REMOVE_DELAY_MS, ...timing }
    this.#writer = new ProvisionWriter(api, fence, this.#end.signal)
    this.#queue = new WorkQueue({
      ...{ clock, random, concurrency: CONCURRENT_GATEWAYS },
      ...{ retryInitialMs: RETRY_INITIAL_MS, retryMaxMs: RETRY_MAX_MS },
      work: (key) => this.#work(key),
    })
    this.#endListening = mesh.onTranslated(() => this.#look(false))
    this.#resync = this.#resyncLater()
    this.#look(true)
  }

  async stop(): Promise<void> {
    this.#endListening()
    this.#resync.cancel()
    for (const { timer } of this.#unused.values()) timer?.cancel()
    this.#end.abort(new LeadLost())
    await this.#queue.stop()
  }

  report(): ProvisionReport {
    return {
      isActive: true,
      tasks: [...this.#states.values()],
      unused: [...this.#unused.keys()],
      findings: boundFindings([...this.#findings]),
    }
  }

  #resyncLater(): ClockTimer {
    return this.#options.clock.startTimer(this.#timing.resyncMs, () => {
      this.#resync = this.#resyncLater()
      this.#look(true)
    })
  }

  /** Finds out what should be; hands on what is new, or everything. */
  #look(isResync: boolean): void {
    const { mesh, settings } = this.#options
    if (!mesh.isTranslated) return
    const { tasks, unused, findings } = provisionTasks(mesh.objects, settings)
    const before = this.#tasks
    this.#findings = findings
    this.#tasks = tasks
    for (const [key, { objects }] of before)
      if (!this.#tasks.has(key)) {
        this.#queue.forget(key)
        this.#writer.forget(objects())
        this.#states.delete(key)
      }
    for (const [key, { text }] of this.#tasks) {
      if (!this.#states.has(key)) this.#states.set(key, { name: key, state: 'pending', problem: null })
      if (isResync || before.get(key)?.text !== text) this.#queue.add(key)
    }
    this.#watchUnused(unused)
  }

  #watchUnused(unused: readonly UnusedGateway[]): void {
    const now = new Map(unused.map((gateway) => [gateway.namespace, gateway]))
    for (const [namespace, { gateway, timer }] of this.#unused) {
      if (now.get(namespace)?.uid === gateway.uid) continue
      timer?.cancel()
      this.#unused.delete(namespace)
      if (!this.#tasks.has(autoKey(namespace))) this.#states.delete(autoKey(namespace))
    }
    for (const gateway of unused) {
      const { namespace } = gateway
      const known = this.#unused.get(namespace)
      // Due, and still there.
      if (known?.timer === null) this.#queue.add(autoKey(namespace))
      if (known !== undefined) continue
      const timer = this.#options.clock.startTimer(this.#timing.removeDelayMs, () => {
        this.#unused.set(namespace, { gateway, timer: null })
        this.#queue.add(autoKey(namespace))
      })
      this.#unused.set(namespace, { gateway, timer })
    }
  }

  /** Does what should be done by now. */
  async #work(key: string): Promise<'done' | number> {
    const { log } = this.#options
    try {
      const task = this.#tasks.get(key)
      if (task !== undefined) {
        const written = await this.#writer.apply(task.objects(), task.isOurs)
        if (written.length > 0) log.info({ task: key, written }, 'waypoint objects applied')
      } else await this.#removeUnused(key)
      this.#note(key, 'applied', null)
      return 'done'
    } catch (error) {
      if (error instanceof LeadLost || this.#end.signal.aborted) return 'done'
      const problem = problemOf(error, key)
      this.#note(key, 'failed', problem)
      return Math.min(problem.retryAfterMs, RETRY_MAX_MS)
    }
  }

  async #removeUnused(key: string): Promise<void> {
    const found = this.#unusedOf(key)
    if (found === undefined || found.timer !== null) return
    const { namespace, uid } = found.gateway
    await this.#writer.delete(autoGateway(namespace), uid)
    this.#options.log.info({ namespace }, 'a Gateway that nobody names any more is deleted')
  }

  #unusedOf(key: string) {
    return [...this.#unused.values()].find(({ gateway }) => autoKey(gateway.namespace) === key)
  }

  #note(key: string, state: TaskState['state'], problem: ProvisionProblem | null): void {
    const before = this.#states.get(key)
    if (before === undefined && problem === null) return
    // A failure that stays is told once.
    if (problem !== null && before?.problem?.detail !== problem.detail)
      this.#options.log.warn(
        { task: key, ...problem },
        'a waypoint is not as it should be; it is tried again',
      )
    // Gone meanwhile: nobody would take it out of the report.
    if (this.#tasks.has(key) || this.#unusedOf(key) !== undefined)
      this.#states.set(key, { name: key, state, problem })
  }
}
