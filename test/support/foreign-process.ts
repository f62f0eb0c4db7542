// SPDX-License-Identifier: Apache-2.0
// Programs of others as peers in tests: one that runs to its end, and one that serves until it is stopped. Each is
// ended by its own process id, has a deadline, and is missing with a clear message: interop tests never skip.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { poll } from './mesh-lab.ts'

/** Far above what any of them takes, so that only a defect meets it. */
const DEADLINE_MS = 20_000
/** How long a program may take to end after SIGTERM. */
const STOP_MS = 3000
/** Enough of a log to see what went wrong. */
const LOG_TAIL_CHARS = 6000

/** How a program is started. */
export interface ForeignOptions {
  readonly namespace?: NetworkNamespace
  readonly environment?: Readonly<Record<string, string>>
}
/** How a program ended. */
export interface ForeignResult {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

function start(command: string, args: readonly string[], options: ForeignOptions): ChildProcess {
  const env = { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, ...options.environment }
  const begin = (): ChildProcess => spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env })
  return options.namespace === undefined ? begin() : options.namespace.run(begin)
}

/** Runs a program to its end. @throws Error when it is not installed or does not end in time */
export async function runForeign(
  command: string,
  args: readonly string[],
  options: ForeignOptions = {},
): Promise<ForeignResult> {
  const child = start(command, args, options)
  const stdout: Buffer[] = []
  let stderr = ''
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS)
  try {
    const [code, signal] = await once(child, 'close')
    if (signal === 'SIGKILL') throw new Error(`${command} ${args.join(' ')}: not within ${DEADLINE_MS} ms`)
    return { code, stdout: Buffer.concat(stdout), stderr }
  } finally {
    clearTimeout(timer)
  }
}

/** A program that serves until it is stopped. Its output is kept as its log. */
export class ForeignProcess {
  #log = ''
  #error: Error | null = null
  readonly #child: ChildProcess
  readonly #command: string

  constructor(command: string, args: readonly string[], options: ForeignOptions = {}) {
    this.#command = command
    this.#child = start(command, args, options)
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#log += chunk.toString()
      })
    }
    this.#child.on('error', (error) => {
      this.#error = error
    })
  }

  get log(): string {
    return this.#log
  }
  get hasEnded(): boolean {
    return this.#error !== null || this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** Waits until `holds` gives something but null. @throws Error with the log when the program ends or never does */
  async until<T>(what: string, holds: () => T | null | Promise<T | null>): Promise<T> {
    const step = async (): Promise<T | null> => {
      if (this.hasEnded) throw new Error(`${this.#command} has ended`, { cause: this.#error })
      return await holds()
    }
    return await poll(what, step, DEADLINE_MS).catch((error: Error) => {
      throw new Error(`${this.#command}: ${error.message}\n${this.#log.slice(-LOG_TAIL_CHARS)}`, {
        cause: error,
      })
    })
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    if (this.hasEnded) return
    this.#child.kill('SIGKILL')
    await poll(`${this.#command} killed`, () => this.hasEnded || null)
  }

  /** Asks it to end, and makes it end. Idempotent. */
  async stop(): Promise<void> {
    if (this.hasEnded) return
    this.#child.kill('SIGTERM')
    await poll('ended', () => this.hasEnded || null, STOP_MS).catch(() => this.kill())
  }
}

/** A port that was free a moment ago, for programs that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: it listens on an IP
  server.close()
  await once(server, 'close')
  return port
}
