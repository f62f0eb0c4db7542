// SPDX-License-Identifier: Apache-2.0
// HTTP requests at a rate from inside a pod of a MeshLab, by a process of its own (request-load-agent.ts).
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import { type LabPod, type MeshLab, poll } from './mesh-lab.ts'
import type { RequestLoadOptions, RequestProgress } from './request-load-agent.ts'

const AGENT = fileURLToPath(new URL('./request-load-agent.ts', import.meta.url))
const NOTHING: RequestProgress = { ms: 0, begun: 0, answered: 0, failures: [], failureCount: 0 }

export class RequestLoad {
  readonly #agent: ChildProcess
  readonly #hasSaidAll: Promise<unknown>
  /** What it has said last. */
  #progress = NOTHING

  constructor(lab: MeshLab, pod: LabPod, options: RequestLoadOptions) {
    const args = ['--no-warnings', AGENT, JSON.stringify(options)]
    this.#agent = lab
      .namespaceOf(pod)
      .run(() =>
        spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], env: AGENT_ENVIRONMENT }),
      )
    const { stdout } = this.#agent
    if (stdout === null) throw new Error('it says nothing') // never: it is a pipe
    const lines = createInterface(stdout)
    lines.on('line', (line) => {
      this.#progress = JSON.parse(line) as RequestProgress // as: what the agent writes
    })
    this.#hasSaidAll = once(lines, 'close')
  }

  /** Waits until so many requests more have been answered; fails where one was lost. */
  async more(count: number): Promise<void> {
    const wanted = this.#progress.answered + count
    await poll(`${count} requests`, () => {
      const { answered, failures } = this.#progress
      if (failures.length > 0) throw new Error(`requests failed: ${failures.join('; ')}`)
      return answered >= wanted || null
    })
  }

  /** Ends it; what it came to. */
  async finish(): Promise<RequestProgress> {
    const { ms } = this.#progress
    this.#agent.stdin?.end()
    await this.#hasSaidAll
    return { ...this.#progress, ms: Math.max(ms, 1) }
  }

  close(): void {
    this.#agent.kill('SIGKILL')
  }
}
