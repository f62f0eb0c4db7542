// SPDX-License-Identifier: Apache-2.0
// http-callers in a pod of a WaypointMesh, told from outside.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import type { CallersProgress } from './http-callers.ts'
import { type LabPod, poll } from './mesh-lab.ts'
import { SERVICES, type WaypointMesh } from './waypoint-mesh.ts'

const CALLERS = fileURLToPath(new URL('./http-callers.ts', import.meta.url))
/** Callers that find out whether the service answers, and their requests each. */
const FEW = 5

/** Callers of the service web; they end with the test. */
export class CallerLoad {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  /** `mode`: as http-callers.ts has it. */
  constructor(t: Test, mesh: WaypointMesh, pod: LabPod, count: number, mode: 'keep' | 'new') {
    const args = ['--no-warnings', CALLERS, SERVICES.web.vip, '80', String(count), mode]
    const start = (): ChildProcess =>
      spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], env: AGENT_ENVIRONMENT })
    this.#child = mesh.lab.namespaceOf(pod).run(start)
    const { stdout } = this.#child
    this.#child.stdin?.on('error', () => {}) // it has ended: what it has said, or not, tells
    if (stdout === null) throw new Error('it says nothing') // never: it is a pipe
    this.#lines = createInterface(stdout)[Symbol.asyncIterator]()
    t.teardown(() => void this.#child.kill('SIGKILL'))
  }

  async progress(): Promise<CallersProgress> {
    this.#child.stdin?.write('\n')
    return JSON.parse((await this.#lines.next()).value ?? '') as CallersProgress // as: what it writes
  }

  /** Until so many requests more have been answered; throws where one was not. */
  async more(count: number): Promise<void> {
    const wanted = (await this.progress()).answered + count
    await poll(`${count} answers more`, async () => {
      const { answered, failures } = await this.progress()
      if (failures.length > 0) throw new Error(failures.join('; '))
      return answered >= wanted || null
    })
  }

  /** Waits until the service answers: nodes hear of it, and get their certificates, one after the other. */
  static async warmUp(t: Test, mesh: WaypointMesh, pod: LabPod): Promise<void> {
    await poll('the service answers', async () => {
      const few = new CallerLoad(t, mesh, pod, FEW, 'new')
      const isAnswered = await few.more(FEW * FEW).then(
        () => true,
        () => null,
      )
      await few.end()
      return isAnswered
    })
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await ended
  }
}
