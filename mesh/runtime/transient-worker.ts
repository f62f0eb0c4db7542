// SPDX-License-Identifier: Apache-2.0
// Work that is rare and needs large libraries, done in a thread that starts for a call and ends when none came for a
// while: what the libraries cost is paid while they work, not for the life of the process.
import { parentPort, Worker } from 'node:worker_threads'
import { MeshError } from '../errors/mesh-error.ts'
import type { ReasonCode } from '../errors/reasons.ts'

/** Idle time after which the thread ends: longer than the pauses inside one start-up, shorter than a renewal. */
export const TRANSIENT_IDLE_MS = 1000

/** What a thread can do. Arguments and results must be structured-clonable. */
// biome-ignore lint/suspicious/noExplicitAny: the bound of a mapped type; every use is checked against the method
export type Methods = Readonly<Record<string, (...args: any[]) => unknown>>

interface Call {
  readonly number: number
  readonly method: string
  readonly args: readonly unknown[]
}

interface Answer {
  readonly number: number
  readonly value?: unknown
  /** Set when the method failed. */
  readonly failure?: {
    readonly code: ReasonCode | null
    readonly detail: string
    readonly retryable: boolean
  }
}

interface Waiter {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** The caller's side. */
export class TransientWorker<M extends Methods> {
  readonly #entry: URL
  readonly #onEnded: () => void
  readonly #waiting = new Map<number, Waiter>()
  #worker: Worker | null = null
  #idleTimer: NodeJS.Timeout | null = null
  #nextNumber = 0
  #isClosed = false

  /** `entry` is a module that calls serveMethods(); `onEnded` is told of every end of the thread. */
  constructor(entry: URL, onEnded: () => void = () => {}) {
    this.#entry = entry
    this.#onEnded = onEnded
  }

  /**
   * Calls a method in the thread.
   * @throws what the method threw, with its code if it has one; WORKER_LOST when the thread died of it.
   */
  call<Name extends keyof M & string>(
    method: Name,
    ...args: Parameters<M[Name]>
  ): Promise<Awaited<ReturnType<M[Name]>>> {
    if (this.#isClosed) return Promise.reject(new MeshError('SHUTDOWN', { detail: method }))
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer)
    this.#worker ??= this.#start()
    this.#worker.ref()
    const number = this.#nextNumber++
    const answered = new Promise<unknown>((resolve, reject) => this.#waiting.set(number, { resolve, reject }))
    this.#worker.postMessage({ number, method, args } satisfies Call)
    return answered as Promise<Awaited<ReturnType<M[Name]>>> // as: serveMethods answers with the method's own result
  }

  /** True while the thread exists. */
  get isRunning(): boolean {
    return this.#worker !== null
  }

  /** Ends the thread; open calls are rejected. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#end()
  }

  #start(): Worker {
    const worker = new Worker(this.#entry)
    let cause: unknown
    worker.on('message', (answer: Answer) => this.#onAnswer(answer))
    worker.on('error', (error) => {
      cause = error
    })
    worker.on('exit', () => {
      if (this.#worker === worker) {
        this.#worker = null
        this.#rejectAll(new MeshError('WORKER_LOST', { retryable: true, cause, detail: String(cause ?? '') }))
      }
      this.#onEnded()
    })
    return worker
  }

  #onAnswer({ number, value, failure }: Answer): void {
    const waiter = this.#waiting.get(number)
    this.#waiting.delete(number)
    if (this.#waiting.size === 0) {
      this.#worker?.unref() // an idle thread keeps no process alive
      this.#idleTimer = setTimeout(() => void this.#end(), TRANSIENT_IDLE_MS)
      this.#idleTimer.unref()
    }
    if (failure === undefined) waiter?.resolve(value)
    else if (failure.code === null) waiter?.reject(new Error(failure.detail))
    else waiter?.reject(new MeshError(failure.code, failure))
  }

  async #end(): Promise<void> {
    const worker = this.#worker
    this.#worker = null
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer)
    this.#rejectAll(new MeshError('SHUTDOWN', { retryable: true }))
    await worker?.terminate()
  }

  #rejectAll(error: MeshError): void {
    const waiters = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiters) reject(error)
  }
}

/** The thread's side: answers calls with these methods. Called once, by the thread's entry. */
export function serveMethods(methods: Methods): void {
  parentPort?.on('message', ({ number, method, args }: Call) => {
    const run = async (): Promise<unknown> => await methods[method]?.(...args)
    run().then(
      (value) => parentPort?.postMessage({ number, value } satisfies Answer),
      (error: unknown) => parentPort?.postMessage({ number, failure: failureOf(error) } satisfies Answer),
    )
  })
}

function failureOf(error: unknown): NonNullable<Answer['failure']> {
  if (error instanceof MeshError)
    return { code: error.code, detail: error.detail, retryable: error.retryable }
  return { code: null, detail: error instanceof Error ? error.message : String(error), retryable: false }
}
