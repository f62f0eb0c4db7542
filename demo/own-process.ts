// SPDX-License-Identifier: Apache-2.0
// The parent's side of a process of the product: started in a namespace or on this machine, its log, its admin socket,
// its end.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { spawnIn } from '../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../mesh/reactor/netns.ts'
import { environmentName } from '../mesh/runtime/options.ts'
import { compileCacheEnvironment } from './compile-cache.ts'
import { endWithParent } from './end-with-parent.ts'

/** On a machine that does little else it is two seconds. */
const READY_TIMEOUT_MS = 40_000
const READY_INTERVAL_MS = 50
const ADMIN_TIMEOUT_MS = 2000
/** A ztunnel's drain, its supervisor's grace for the data process, and some. */
const END_TIMEOUT_MS = 6000
const LOG_LINES_SHOWN = 20

/** What is started, and where. */
export interface OwnProcessOptions {
  /** For messages: `node1`. */
  readonly name: string
  /** The program's file. */
  readonly script: string
  /** Its options, by their names in the program's table. */
  readonly config: Readonly<Record<string, string | number | boolean>>
  /** Null: this machine's. */
  readonly namespace: NetworkNamespace | null
  /** Appended to. */
  readonly logFile: string
  readonly adminSocket: string
}
/** What an admin API answered. */
export interface AdminAnswer {
  readonly status: number
  readonly text: string
}

/** Owns the process. */
export class OwnProcess {
  readonly #options: OwnProcessOptions
  readonly #child: ChildProcess
  #hasEnded = false

  /** Starts it; call ready(). */
  constructor(options: OwnProcessOptions) {
    this.#options = options
    const { namespace, script, config, logFile } = options
    const given = Object.entries(config).map(([key, value]) => [environmentName(key), String(value)])
    const env = { ...compileCacheEnvironment(), ...Object.fromEntries(given) }
    const logFd = openSync(logFile, 'a', 0o600)
    const spawnOptions: SpawnOptions = { stdio: ['ignore', logFd, logFd], env }
    const args = ['--no-warnings', ...endWithParent(), script]
    this.#child =
      namespace === null
        ? spawn(process.execPath, args, spawnOptions)
        : spawnIn(namespace, process.execPath, args, spawnOptions)
    closeSync(logFd)
    for (const event of ['error', 'exit'] as const) this.#child.once(event, () => (this.#hasEnded = true))
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /**
   * Waits until admin says ready and `pending` has nothing to add; `signal` gives up.
   * @throws Error with the end of the log
   */
  async ready(signal: AbortSignal, pending: () => Promise<string> = async () => ''): Promise<void> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS
    let last = 'no answer'
    while (performance.now() < deadlineMs && !this.#hasEnded && !signal.aborted) {
      last = await this.#pending(pending).catch((error: unknown) => String(error))
      if (last === '') return
      await wait(READY_INTERVAL_MS)
    }
    const why = this.#hasEnded ? 'the process has ended' : last.trim()
    throw new Error(`${this.#options.name} did not become ready: ${why}\n${this.logEnd()}`)
  }

  /** Asks the admin API; `body` is sent as JSON. @throws Error when nobody answers */
  async admin(path: string, body?: object): Promise<AdminAnswer> {
    const asked = request({
      socketPath: this.#options.adminSocket,
      path,
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      signal: AbortSignal.timeout(ADMIN_TIMEOUT_MS),
      agent: false,
    })
    asked.end(body === undefined ? '' : JSON.stringify(body))
    const [response] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event carries
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    return { status: response.statusCode ?? 0, text }
  }

  /** The last lines of its log. */
  logEnd(): string {
    try {
      const lines = readFileSync(this.#options.logFile, 'utf8').trimEnd().split('\n')
      return lines.slice(-LOG_LINES_SHOWN).join('\n')
    } catch {
      return ''
    }
  }

  /** Ends it without a word to anybody. Idempotent. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Lets it end in order. Idempotent. */
  async close(): Promise<void> {
    await this.#end('SIGTERM').catch(() => this.kill())
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#hasEnded) return
    const ended = once(this.#child, 'exit', { signal: AbortSignal.timeout(END_TIMEOUT_MS) })
    this.#child.kill(signal)
    await ended
  }

  async #pending(further: () => Promise<string>): Promise<string> {
    const { status, text } = await this.admin('/ready')
    return status === 200 ? await further() : text
  }
}
