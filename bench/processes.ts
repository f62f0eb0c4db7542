// SPDX-License-Identifier: Apache-2.0
// Processes of one lab: every one in a namespace, with a log, ended by its id and in reverse order. None outlives
// close(), not even when what used it has failed.
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { spawnIn } from '../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../mesh/reactor/netns.ts'

/** After SIGTERM; our own supervisor drains for a second. */
const END_TIMEOUT_MS = 8000
const LOG_BYTES_SHOWN = 3000

/** What a program of load/ is called with; each declares its own. */
type ProgramOptions = object

/** Owns every process it started. */
export class Processes {
  readonly #directory: string
  readonly #path: string
  readonly #children: ChildProcess[] = []
  readonly #logged: LoggedProcess[] = []
  #logCount = 0

  /** `directory` takes the logs; `path` is the children's PATH. */
  constructor(directory: string, path: string) {
    this.#directory = directory
    this.#path = path
  }

  /** Starts a process that runs until close(). */
  start(
    namespace: NetworkNamespace,
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): LoggedProcess {
    const log = join(this.#directory, `process-${++this.#logCount}.log`)
    const logFd = openSync(log, 'a', 0o600)
    const child = this.#spawn(namespace, command, args, { stdio: ['ignore', logFd, logFd], env })
    closeSync(logFd)
    const process = new LoggedProcess(child, log)
    this.#logged.push(process)
    return process
  }

  /** Runs a command to its end; its output. @throws Error with its complaints when it fails or takes too long */
  async run(
    namespace: NetworkNamespace,
    command: string,
    args: readonly string[],
    timeoutMs: number,
  ): Promise<string> {
    const child = this.#spawn(namespace, command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
    })
    let output = ''
    let errors = ''
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    await ended(child)
    this.#children.splice(this.#children.indexOf(child), 1)
    if (child.exitCode === 0) return output
    throw new Error(
      `${command.split('/').pop()}: ${child.exitCode ?? child.signalCode} ${errors}${output}`.trim(),
    )
  }

  /** Runs a program of load/ to its end; its answer. @throws Error */
  async measure<T>(
    namespace: NetworkNamespace,
    program: string,
    options: ProgramOptions,
    timeoutMs: number,
  ): Promise<T> {
    const output = await this.run(namespace, process.execPath, programArguments(program, options), timeoutMs)
    return JSON.parse(output) as T // as: the program declares its answer beside its options
  }

  /** Starts a program of load/ and waits for its line; it runs until stop() or close(). @throws Error */
  async hold(
    namespace: NetworkNamespace,
    program: string,
    options: ProgramOptions,
    timeoutMs: number,
  ): Promise<ChildProcess> {
    const args = programArguments(program, options)
    const child = this.#spawn(namespace, process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let errors = ''
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    const answered = child.stdout === null ? Promise.resolve() : once(child.stdout, 'data')
    const timer = AbortSignal.timeout(timeoutMs)
    const late = new Promise((_, reject) => {
      timer.addEventListener('abort', () => reject(new Error(`${program}: no answer in ${timeoutMs} ms`)))
    })
    const gone = once(child, 'close').then(() => {
      throw new Error(`${program} has ended: ${errors}`)
    })
    gone.catch(() => {}) // it ends some day; by then nobody waits for its line
    await Promise.race([answered, gone, late])
    return child
  }

  /** What the processes of start() say, and which have ended: for the message of what failed. */
  logs(): string {
    return this.#logged
      .map((process) => `${process.hasEnded ? '(ended) ' : ''}${process.logEnd()}`.trim())
      .filter((text) => text !== '')
      .join('\n')
  }

  /** Ends one of them. */
  async stop(child: ChildProcess): Promise<void> {
    const index = this.#children.indexOf(child)
    if (index >= 0) this.#children.splice(index, 1)
    if (child.exitCode !== null || child.signalCode !== null) return
    const killer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS)
    const end = ended(child)
    child.kill('SIGTERM')
    await end
    clearTimeout(killer)
  }

  /** Ends all. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.#children.splice(0).map((child) => this.stop(child)))
  }

  #spawn(
    namespace: NetworkNamespace,
    command: string,
    args: readonly string[],
    options: SpawnOptions,
  ): ChildProcess {
    const child = spawnIn(namespace, command, args, { ...options, env: { PATH: this.#path, ...options.env } })
    child.once('error', () => {}) // ended() reports it
    this.#children.push(child)
    return child
  }
}

/** A process that runs on, and what it says. */
export class LoggedProcess {
  readonly child: ChildProcess
  readonly #log: string

  constructor(child: ChildProcess, log: string) {
    this.child = child
    this.#log = log
  }

  get pid(): number {
    return this.child.pid ?? -1
  }

  get hasEnded(): boolean {
    return this.child.pid === undefined || this.child.exitCode !== null || this.child.signalCode !== null
  }

  logEnd(): string {
    return readFileSync(this.#log, 'utf8').slice(-LOG_BYTES_SHOWN)
  }
}

function programArguments(program: string, options: ProgramOptions): string[] {
  const path = fileURLToPath(new URL(`./load/${program}.ts`, import.meta.url))
  return ['--no-warnings', path, JSON.stringify(options)]
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  await new Promise<void>((resolve) => child.once('close', () => resolve()))
}
