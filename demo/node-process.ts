// SPDX-License-Identifier: Apache-2.0
// The parent's side of one node's ztunnel: its supervisor as a process in the node's namespace, its files, its admin
// socket.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { spawnIn } from '../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../mesh/reactor/netns.ts'
import { environmentName } from '../mesh/runtime/options.ts'
import type { ZtunnelConfig } from '../ztunnel/config.ts'
import { endWithParent } from './end-with-parent.ts'
import { type DemoPod, TRUST_DOMAIN } from './plan.ts'

const SUPERVISOR = fileURLToPath(new URL('../ztunnel/supervisor/main.ts', import.meta.url))
const READY_TIMEOUT_MS = 20_000
const READY_INTERVAL_MS = 50
const ADMIN_TIMEOUT_MS = 2000
const DRAIN_SECONDS = 1
/** The drain, the supervisor's own grace for its data process, and some. */
const END_TIMEOUT_MS = 6000
const LOG_LINES_SHOWN = 20

/** Where a node's ztunnel runs. */
export interface NodePlace {
  readonly name: DemoPod['node']
  /** Null: this machine's. */
  readonly namespace: NetworkNamespace | null
  /** The demo's directory: mesh.yaml, ca/, and this node's files. */
  readonly directory: string
  /** Pods the enrolment file lists. */
  readonly podCount: number
}

/** The files of a node. */
export function nodeFiles({ name, directory }: Pick<NodePlace, 'name' | 'directory'>): {
  readonly enrolment: string
  readonly records: string
  readonly log: string
  readonly admin: string
} {
  const file = (ending: string): string => join(directory, `${name}.${ending}`)
  return {
    enrolment: file('enrolment.yaml'),
    records: file('records'),
    log: file('log'),
    admin: file('sock'),
  }
}

/** Owns the supervisor and what it started. */
export class NodeProcess {
  readonly place: NodePlace
  readonly #child: ChildProcess
  #hasEnded = false

  /** Starts the supervisor; call ready(). */
  constructor(place: NodePlace) {
    this.place = place
    const files = nodeFiles(place)
    const config: Partial<ZtunnelConfig> = {
      nodeName: place.name,
      configFile: join(place.directory, 'mesh.yaml'),
      enrolmentFile: files.enrolment,
      caDirectory: join(place.directory, 'ca'),
      trustDomain: TRUST_DOMAIN,
      adminSocket: files.admin,
      records: files.records,
      workerCount: 2,
      // Without namespaces there are no rules that could take a spoofed source back.
      originalSource: place.namespace !== null,
      ipv6: place.namespace !== null,
      drainSeconds: DRAIN_SECONDS,
    }
    const env = Object.fromEntries(
      Object.entries(config).map(([key, value]) => [environmentName(key), String(value)]),
    )
    const logFd = openSync(files.log, 'a', 0o600)
    const options: SpawnOptions = { stdio: ['ignore', logFd, logFd], env }
    const args = ['--no-warnings', ...endWithParent(), SUPERVISOR]
    this.#child =
      place.namespace === null
        ? spawn(process.execPath, args, options)
        : spawnIn(place.namespace, process.execPath, args, options)
    closeSync(logFd)
    for (const event of ['error', 'exit'] as const) this.#child.once(event, () => (this.#hasEnded = true))
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Waits until every pod is served. @throws Error with the end of the log */
  async ready(): Promise<void> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS
    let last = 'no answer'
    while (performance.now() < deadlineMs && !this.#hasEnded) {
      last = await this.#pending().catch((error: unknown) => String(error))
      if (last === '') return
      await wait(READY_INTERVAL_MS)
    }
    const why = this.#hasEnded ? 'its ztunnel has ended' : last.trim()
    throw new Error(`${this.place.name} did not become ready: ${why}\n${this.logEnd()}`)
  }

  /** What the ztunnel answers under a path of its admin API. */
  async admin(path: string): Promise<{ readonly status: number; readonly text: string }> {
    const signal = AbortSignal.timeout(ADMIN_TIMEOUT_MS)
    const asked = get({ socketPath: nodeFiles(this.place).admin, path, signal, agent: false })
    const [response] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event carries
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    return { status: response.statusCode ?? 0, text }
  }

  /** The last lines of the ztunnel's log. */
  logEnd(): string {
    try {
      return readFileSync(nodeFiles(this.place).log, 'utf8')
        .trimEnd()
        .split('\n')
        .slice(-LOG_LINES_SHOWN)
        .join('\n')
    } catch {
      return ''
    }
  }

  /** Drains and ends. Idempotent. */
  async close(): Promise<void> {
    if (this.#hasEnded) return
    const ended = once(this.#child, 'exit', { signal: AbortSignal.timeout(END_TIMEOUT_MS) })
    this.#child.kill('SIGTERM')
    // The data process ends by itself when its supervisor is gone.
    await ended.catch(() => this.#child.kill('SIGKILL'))
  }

  /** '' when ready. */
  async #pending(): Promise<string> {
    const { status, text } = await this.admin('/ready')
    if (status !== 200) return text
    const { pods } = JSON.parse((await this.admin('/config_dump')).text) as { pods: readonly unknown[] } // as: our API
    return pods.length === this.place.podCount ? '' : `${pods.length} of ${this.place.podCount} pods enrolled`
  }
}
