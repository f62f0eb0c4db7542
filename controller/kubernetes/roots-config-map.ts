// SPDX-License-Identifier: Apache-2.0
// The duty of the leader that tells ztunnels and waypoints whom to believe: the roots of the controllers' certificates, in
// a ConfigMap of the name that the ecosystem's agents mount. It is in the controller's namespace, where ztunnels run, and
// beside every waypoint, to whose Gateways it then belongs. One that another writes, istiod for instance, is left alone.
import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { Pause } from '../../mesh/runtime/pause.ts'
import type { LeaderDuty } from '../leader.ts'
import type { MeshView } from '../mesh-view.ts'
import { desiredWaypoints, type WaypointPlan } from '../provision/waypoint-plan.ts'
import { MANAGED_BY, MANAGER } from '../translate/waypoint-class.ts'
import { apiFailure, statusOf } from './api-failure.ts'

/** Its name; controller/rbac.yaml allows exactly this one. */
export const ROOTS_CONFIG_MAP = 'istio-ca-root-cert'
const KEY = 'root-cert.pem'

const REST_MS = 1000 // after a look: a burst of changes is looked at once
const LOOK_INTERVAL_MS = 10_000 // new roots are there long before a certificate needs them
const REPAIR_INTERVAL_MS = 60_000 // what somebody deleted or changed is written again
const RETRY_INITIAL_MS = 500 // after a failure
const RETRY_MAX_MS = 30_000 // longest of these waits
const NOT_FOUND = 404
const CONFLICT = 409

/** What the duty is made of. */
export interface RootsDutyOptions {
  readonly mesh: MeshView
  readonly api: Pick<KubernetesClient, 'apply' | 'reload'>
  /** Of the controller. */
  readonly namespace: string
  /** What the controllers' certificates are verified with, PEM. */
  readonly rootsPem: () => Promise<string>
  readonly clock: Clock
  readonly log: Log
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/** Makes the duty. */
export function rootsDuty(options: RootsDutyOptions): LeaderDuty {
  let run: RootsRun | null = null
  return {
    name: 'publish roots',
    start: (fence) => {
      run = new RootsRun(options, fence)
    },
    stop: async () => {
      await run?.stop()
      run = null
    },
  }
}

/** The work of one leadership. */
class RootsRun {
  readonly #options: RootsDutyOptions
  readonly #fence: () => string | null
  readonly #pause: Pause
  readonly #backoff: Backoff
  readonly #abort = new AbortController()
  readonly #unlisten: () => void
  readonly #work: Promise<void>
  /** What was written into each namespace, as text. */
  readonly #written = new Map<string, string>()
  #isDirty = false
  #repairAtMs = 0

  constructor(options: RootsDutyOptions, fence: () => string | null) {
    this.#options = options
    this.#fence = fence
    this.#pause = new Pause(options.clock)
    const { random } = options
    this.#backoff = new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS, random })
    this.#unlisten = options.mesh.onTranslated(() => {
      this.#isDirty = true
      this.#pause.wake()
    })
    this.#work = this.#run()
  }

  async stop(): Promise<void> {
    this.#unlisten()
    this.#abort.abort()
    this.#pause.wake()
    await this.#work
  }

  get #isStopped(): boolean {
    return this.#abort.signal.aborted
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.#isDirty = false
      const isDone = await this.#round().catch((err: unknown) => {
        if (!this.#isStopped) this.#options.log.error({ err }, 'the roots cannot be read')
        return false
      })
      if (this.#isStopped) return
      if (isDone) this.#backoff.reset()
      else await this.#pause.wait(this.#backoff.next())
      if (isDone) await this.#pause.wait(REST_MS)
      if (isDone && !this.#isDirty && !this.#isStopped) await this.#pause.wait(LOOK_INTERVAL_MS)
    }
  }

  /** False when something has to be tried again soon. */
  async #round(): Promise<boolean> {
    const { mesh, namespace, rootsPem, clock } = this.#options
    if (clock.passedMs >= this.#repairAtMs) {
      this.#written.clear()
      this.#repairAtMs = clock.passedMs + REPAIR_INTERVAL_MS
    }
    const roots = await rootsPem()
    const waypoints = mesh.isTranslated ? desiredWaypoints(mesh.objects).waypoints : []
    const wanted = new Map([[namespace, configMap(namespace, roots, [])]])
    for (const [name, owners] of Map.groupBy(waypoints, (each) => each.namespace))
      if (name !== namespace) wanted.set(name, configMap(name, roots, owners))
    for (const name of this.#written.keys()) if (!wanted.has(name)) this.#written.delete(name)
    let isDone = true
    for (const [name, body] of wanted) {
      const text = JSON.stringify(body)
      if (this.#written.get(name) === text) continue
      if (this.#isStopped || this.#fence() === null) return true
      if (await this.#write(name, body)) this.#written.set(name, text)
      else isDone = false
    }
    return isDone
  }

  /** False when it may succeed soon. */
  async #write(namespace: string, body: unknown): Promise<boolean> {
    const { api, log } = this.#options
    const path = `/api/v1/namespaces/${namespace}/configmaps/${ROOTS_CONFIG_MAP}`
    try {
      await api.apply(path, body, this.#abort.signal, { isForced: false })
      return true
    } catch (cause) {
      if (this.#isStopped) return true
      const status = statusOf(cause)
      if (status === NOT_FOUND) return true // the namespace has just gone
      const err = apiFailure(cause, `write ConfigMap ${namespace}/${ROOTS_CONFIG_MAP}`)
      if (status === CONFLICT) {
        log.warn({ err, reason: err.code }, 'the roots in a namespace are those of another controller')
        return true
      }
      log.warn({ err, reason: err.code }, 'the roots are not written')
      if (status === 0 || status === 401) api.reload() // a token may have ended, or the address changed
      return false
    }
  }
}

function configMap(namespace: string, roots: string, owners: readonly WaypointPlan[]): object {
  const ownerReferences = owners.map(({ apiVersion, gateway: name, uid }) => ({
    ...{ apiVersion, kind: 'Gateway', name, uid },
  }))
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      ...{ namespace, name: ROOTS_CONFIG_MAP, labels: { [MANAGED_BY]: MANAGER } },
      ...(ownerReferences.length > 0 && { ownerReferences }),
    },
    data: { [KEY]: roots },
  }
}
