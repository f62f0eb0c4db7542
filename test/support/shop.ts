// SPDX-License-Identifier: Apache-2.0
// The shop on two nodes as a test sees it: its pods, how the requests of its callers ended, what the ztunnels say of
// them. What callers report is read from their files: nothing of it crosses a network.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { Cluster } from './cluster.ts'
import { poll } from './mesh-lab.ts'
import { inNetworkOf, processesOf, processOf } from './pod-processes.ts'
import { MEMBERS, SHOP } from './shop-objects.ts'

const SYSTEM = 'istio-system'
const WAIT_MS = 60_000
/** What stands in a pod's network when it is in a mesh: rules, routes and listeners, in the words of others. */
const TRACES =
  'nft -s list ruleset; ip rule; ip -6 rule; ip route show table 100; ss -Hltn sport ge 15000 | sort'

export interface ShopPod {
  readonly name: string
  readonly app: string
  readonly uid: string
  readonly node: string
  readonly ip: string
  /** What its node says of its redirection; '' when nothing. */
  readonly redirection: string
  readonly isOwnNetwork: boolean
  readonly isReady: boolean
  /** It was deleted, and ends in its time. */
  readonly isLeaving: boolean
}

/** One request of a caller; `error` is null when it was answered. */
export interface Outcome {
  readonly caller: string
  readonly target: string
  /** Wall clock, ms since 1970. */
  readonly startedMs: number
  readonly tookMs: number
  readonly error: string | null
  /** Where it came from, where its caller says so. */
  readonly port?: number
}

/** A connection record or another line of a log. */
export type LogLine = Readonly<Record<string, unknown>>

/** A point in the reports of all callers. */
export type Mark = ReadonlyMap<string, number>

export class Shop {
  readonly #cluster: Cluster
  /** Their files, by caller: open, so that they can be read as long as we like. */
  readonly #reports = new Map<string, number>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  async pods(namespace = SHOP): Promise<readonly ShopPod[]> {
    const text = await this.#cluster.kubectl('-n', namespace, 'get', 'pods', '-o', 'json')
    const { items } = JSON.parse(text) as { items: readonly ApiPod[] } // as: kubectl's
    return items.map(({ metadata, spec, status }) => ({
      name: metadata.name,
      app: metadata.labels?.app ?? '',
      uid: metadata.uid,
      node: spec.nodeName ?? '',
      ip: status.podIP ?? '',
      redirection: metadata.annotations?.['ambient.istio.io/redirection'] ?? '',
      isOwnNetwork: spec.hostNetwork !== true,
      isReady: status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false,
      isLeaving: metadata.deletionTimestamp !== undefined,
    }))
  }

  /** The one pod of an app. @throws when there is none, or several */
  async podOf(app: string, namespace = SHOP): Promise<ShopPod> {
    const found = (await this.pods(namespace)).filter((pod) => pod.app === app)
    const [only] = found
    if (only === undefined || found.length > 1) throw new Error(`${found.length} pods of ${app}`)
    return only
  }

  /** The ztunnel of a node. */
  async ztunnelOf(node: string): Promise<ShopPod> {
    const found = (await this.pods(SYSTEM)).find(
      (pod) => pod.app === 'ztunnel' && pod.node === node && !pod.isLeaving,
    )
    if (found === undefined) throw new Error(`no ztunnel on ${node}`)
    return found
  }

  /** Waits until everything that was applied runs. */
  async ready(): Promise<void> {
    for (const { kind, name } of await this.#rollouts())
      await this.#cluster.kubectl('-n', SHOP, 'rollout', 'status', `${kind}/${name}`, '--timeout=90s')
  }

  /** From now on the requests of this caller are told. */
  async listenTo(app: string, program = 'caller.mjs'): Promise<void> {
    const { uid } = await this.podOf(app)
    const path = `/proc/${processOf(uid, program)}/root/report/requests`
    const fd = await poll(`the report of ${app}`, () => openIfThere(path), WAIT_MS)
    this.#reports.set(app, fd)
  }

  /** This caller is about to end. */
  forget(app: string): void {
    closeSync(this.#reports.get(app) ?? -1)
    this.#reports.delete(app)
  }

  mark(): Mark {
    return new Map([...this.#reports].map(([caller, fd]) => [caller, fstatSync(fd).size]))
  }

  /** How the requests ended that have ended since `mark`. */
  since(mark: Mark): readonly Outcome[] {
    return [...this.#reports].flatMap(([caller, fd]) => {
      const from = mark.get(caller) ?? 0
      const bytes = Buffer.alloc(fstatSync(fd).size - from)
      readSync(fd, bytes, 0, bytes.length, from)
      const lines = bytes.toString().split('\n').slice(0, -1)
      return lines.map((line) => ({ caller, ...JSON.parse(line) }))
    })
  }

  /** Those of them that were not answered, as text. */
  failures(mark: Mark): readonly string[] {
    return this.since(mark).filter(isFailure).map(told)
  }

  /** Waits until each caller was answered by each of its targets that `isExpected` so often; returns what failed since `mark`. */
  async goesOn(mark: Mark, isExpected: (outcome: Outcome) => boolean = () => true, times = 5) {
    const from = this.mark()
    const wanted = new Set(this.since(new Map()).filter(isExpected).map(wayOf))
    await poll(
      `${times} answers of every way`,
      () => this.#missing(from, wanted, times).length === 0 || null,
      WAIT_MS,
    ).catch((error: Error) => {
      const missing = this.#missing(from, wanted, times)
      // The last of each: who fails at once would hide who waits.
      const last = missing.map((way) =>
        this.since(from).findLast((each) => wayOf(each) === way && isFailure(each)),
      )
      const lines = last.map((each, at) => (each === undefined ? `${missing[at]}: nothing` : told(each)))
      throw new Error(`${error.message}: ${lines.join('\n')}`)
    })
    return this.since(mark).filter(isFailure).filter(isExpected).map(told)
  }

  /** The ways that were not answered so often since `from`. */
  #missing(from: Mark, wanted: ReadonlySet<string>, times: number): readonly string[] {
    const ways = this.since(from)
      .filter((outcome) => !isFailure(outcome))
      .map(wayOf)
    return [...wanted].filter((way) => ways.filter((each) => each === way).length < times)
  }

  /** What ztunnels have logged since `sinceMs`. */
  async log(sinceMs: number): Promise<readonly LogLine[]> {
    const since = `--since-time=${new Date(sinceMs).toISOString()}`
    const ztunnels = (await this.pods(SYSTEM)).filter((pod) => pod.app === 'ztunnel')
    const texts = await Promise.all(
      ztunnels.map(({ name }) => this.#cluster.kubectl('-n', SYSTEM, 'logs', name, since)),
    )
    return texts
      .flatMap((text) => text.split('\n'))
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
  }

  async records(sinceMs: number): Promise<readonly LogLine[]> {
    return (await this.log(sinceMs)).filter(({ msg }) => msg === 'connection complete')
  }

  /** A record of this kind since then. */
  async recordOf(what: string, sinceMs: number, isIt: (record: LogLine) => boolean): Promise<LogLine> {
    return await poll(what, async () => (await this.records(sinceMs)).find(isIt) ?? null, WAIT_MS)
  }

  /** Waits until the node of each member says so. */
  async untilRedirection(wanted: 'enabled' | ''): Promise<void> {
    await poll(
      `redirection ${wanted || 'gone'}`,
      async () => (await this.members()).every(({ redirection }) => redirection === wanted) || null,
      WAIT_MS,
    )
  }

  /** Its pods that are to be in the mesh. */
  async members(): Promise<readonly ShopPod[]> {
    return (await this.pods()).filter(isMember)
  }

  /** What a mesh leaves in the network of a pod. */
  tracesIn({ uid }: ShopPod): string {
    return this.inNetwork(uid, TRACES)
  }

  /** Of every pod: how often its containers were started again, and since when it is ready. */
  async readiness(): Promise<string> {
    const ready = '{.status.conditions[?(@.type=="Ready")].lastTransitionTime}'
    const each = `{.metadata.name} {.status.containerStatuses[*].restartCount} ${ready}{"\\n"}`
    const template = `jsonpath={range .items[*]}${each}{end}`
    return await this.#cluster.kubectl('-n', SHOP, 'get', 'pods', '-o', template)
  }

  /** The first program of a pod; null when none runs. */
  firstProcessOf(uid: string): number | null {
    return processesOf(uid)[0]?.pid ?? null
  }

  /** What a shell in the network of a pod prints. */
  inNetwork(uid: string, script: string): string {
    const [first] = processesOf(uid)
    if (first === undefined) throw new Error(`pod ${uid} has no process`)
    return inNetworkOf(first.pid, script)
  }

  close(): void {
    for (const fd of this.#reports.values()) closeSync(fd)
    this.#reports.clear()
  }

  async #rollouts(): Promise<readonly { readonly kind: string; readonly name: string }[]> {
    const names = await this.#cluster.kubectl('-n', SHOP, 'get', 'deployments,statefulsets', '-o', 'name')
    return names
      .trim()
      .split('\n')
      .map((line) => {
        const [kind = '', name = ''] = line.split('/')
        return { kind, name }
      })
  }
}

interface ApiPod {
  readonly metadata: {
    readonly name: string
    readonly uid: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly deletionTimestamp?: string
  }
  readonly spec: { readonly nodeName?: string; readonly hostNetwork?: boolean }
  readonly status: {
    readonly podIP?: string
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
  }
}

export const isMember = ({ app }: ShopPod): boolean => MEMBERS.includes(app)
const isFailure = ({ error }: Outcome): boolean => error !== null
const wayOf = ({ caller, target }: Outcome): string => `${caller} to ${target}`
/** An outcome in one line. */
export const told = (outcome: Outcome): string =>
  `${new Date(outcome.startedMs).toISOString()} ${wayOf(outcome)}: ${outcome.error} after ${outcome.tookMs} ms`

function openIfThere(path: string): number | null {
  try {
    return openSync(path, 'r')
  } catch {
    return null
  }
}
