// SPDX-License-Identifier: Apache-2.0
// The parent's side of a pod's process: start it, let it call, end it.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { spawnIn } from '../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../mesh/reactor/netns.ts'
import { compileCacheEnvironment } from './compile-cache.ts'
import type { DemoPod } from './plan.ts'
import type { CallAnswer, CallRequest } from './service.ts'

const SCRIPT = fileURLToPath(new URL('./service.ts', import.meta.url))
const START_TIMEOUT_MS = 10_000
const END_TIMEOUT_MS = 2000
/** Marks the answer nobody gave. */
const ENDED = '\0ended'

/** Owns the process. */
export class PodProcess {
  readonly pod: DemoPod
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (answer: CallAnswer) => void>()
  #nextId = 1
  #hasEnded = false

  private constructor(pod: DemoPod, child: ChildProcess) {
    this.pod = pod
    this.#child = child
    child.on('message', (answer: CallAnswer) => {
      this.#waiting.get(answer.id)?.(answer)
      this.#waiting.delete(answer.id)
    })
    child.on('error', () => this.#onEnded())
    child.once('exit', () => this.#onEnded())
  }

  /** Starts the service, in `namespace` or on the pod's loopback address; resolves when it listens. */
  static async start(pod: DemoPod, namespace: NetworkNamespace | null, logFd: number): Promise<PodProcess> {
    const args = ['--no-warnings', SCRIPT, '--name', pod.name, '--address', pod.ip]
    const options: SpawnOptions = { stdio: ['ignore', logFd, logFd, 'ipc'], env: compileCacheEnvironment() }
    const child =
      namespace === null
        ? spawn(process.execPath, [...args, '--socks', pod.ip], options)
        : spawnIn(namespace, process.execPath, args, options)
    const self = new PodProcess(pod, child)
    try {
      await self.#answer(0, AbortSignal.timeout(START_TIMEOUT_MS), `the service ${pod.name} did not start`)
      return self
    } catch (error) {
      await self.close()
      throw error
    }
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  /** Calls from inside the pod. */
  async call(ip: string, port: number, path: string, body = ''): Promise<CallAnswer> {
    const id = this.#nextId++
    const answer = this.#answer(id, null, `the service ${this.pod.name} has ended`)
    if (!this.#hasEnded) this.#child.send({ id, ip, port, path, body } satisfies CallRequest)
    return await answer
  }

  /** Ends the process. Idempotent. */
  async close(): Promise<void> {
    if (this.#hasEnded) return
    const ended = once(this.#child, 'exit', { signal: AbortSignal.timeout(END_TIMEOUT_MS) })
    this.#child.kill('SIGTERM')
    await ended.catch(() => this.#child.kill('SIGKILL'))
  }

  async #answer(id: number, signal: AbortSignal | null, failure: string): Promise<CallAnswer> {
    const answer = await new Promise<CallAnswer | null>((resolve) => {
      this.#waiting.set(id, resolve)
      signal?.addEventListener('abort', () => resolve(null), { once: true })
      if (this.#hasEnded) resolve(null)
    })
    this.#waiting.delete(id)
    if (answer !== null && answer.text !== ENDED) return answer
    throw new Error(failure)
  }

  #onEnded(): void {
    this.#hasEnded = true
    for (const [id, resolve] of this.#waiting) resolve({ id, status: 0, text: ENDED })
  }
}
