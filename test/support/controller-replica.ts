// SPDX-License-Identifier: Apache-2.0
// One of several controllers as processes of their own on loopback, which share a Redis and the directory of the CA.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import { poll } from './mesh-lab.ts'
import { requestUnix } from './unix-http.ts'

const CONTROLLER = fileURLToPath(new URL('../../controller/main.ts', import.meta.url))
const START_MS = 60_000

/** What admin says of the lead. */
export interface Leadership {
  readonly isLeader: boolean
  readonly fence: string | null
}

export class ControllerReplica {
  /** Short: the path of a Unix socket is. */
  readonly directory = mkdtempSync(join(tmpdir(), 'replica-'))
  readonly #args: readonly string[]
  #child: ChildProcess | null = null
  #port = 0

  /** `args` are options beside those that differ between replicas. */
  constructor(args: readonly string[]) {
    this.#args = args
  }

  /** Starts it; it serves when this resolves, whether or not it knows any configuration. */
  async start(): Promise<void> {
    const log = openSync(join(this.directory, 'log'), 'a', 0o600)
    const args = [
      ...['--no-warnings', CONTROLLER, '--listen-host', '127.0.0.1'],
      ...['--listen-port', String(this.#port), '--state-directory', join(this.directory, 'state')],
      ...['--admin-socket', this.socket, ...this.#args],
    ]
    this.#child = spawn(process.execPath, args, { stdio: ['ignore', log, log], env: AGENT_ENVIRONMENT })
    closeSync(log)
    await this.knowsPort().catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log}`)
    })
  }

  /** It serves when this resolves. */
  async knowsPort(): Promise<void> {
    const get = (): Promise<{ port: number } | null> => this.ask<{ port: number }>('/listening')
    this.#port = (await poll('the replica serves', get, START_MS)).port
  }

  get socket(): string {
    return join(this.directory, 'admin.sock')
  }

  /** `host:port` for nodes; the same after another start(). */
  get address(): string {
    return `localhost:${this.#port}`
  }

  get log(): string {
    return readFileSync(join(this.directory, 'log'), 'utf8').slice(-8000)
  }

  get audit(): string {
    return readFileSync(join(this.directory, 'state', 'audit.log'), 'utf8')
  }

  /** A GET of admin; null when there is no answer of 200. */
  async ask<T>(path: string): Promise<T | null> {
    const answer = await requestUnix(this.socket, 'GET', path).catch(() => null)
    return answer?.status === 200 ? (JSON.parse(answer.body) as T) : null // as: the caller knows the route
  }

  async leadership(): Promise<Leadership> {
    return (await this.ask<Leadership>('/leader')) ?? { isLeader: false, fence: null }
  }

  /** Ready: it knows the configuration. */
  async ready(): Promise<void> {
    await poll('the replica ready', () => this.ask('/ready'), START_MS)
  }

  /** A token with which the node joins once. */
  async joinToken(node: string, identities: readonly string[]): Promise<string> {
    const { status, body } = await requestUnix(this.socket, 'POST', '/join-tokens', { node, identities })
    if (status !== 200) throw new Error(body)
    return (JSON.parse(body) as { token: string }).token // as: the route's answer
  }

  /** Ends it without a word to anybody. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Ends it as an operator does. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM')
  }

  /** Stops the process where it is: its connections stay, nothing is answered. */
  freeze(): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  async close(): Promise<void> {
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true })
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }
}
