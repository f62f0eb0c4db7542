// SPDX-License-Identifier: Apache-2.0
// Traffic of a MeshLab under a controller that goes on while something happens: one pod calls another that it may call,
// a third calls what it may not. Not one of the first calls may fail, not one of the second may get through.
import type { Test } from 'tap'
import { isGreeted } from './controlled-lab.ts'
import { type MeshLab, poll } from './mesh-lab.ts'

const PAUSE_MS = 15
const NONE = { greeted: 0, failed: 0, refused: 0, leaked: 0 }

/** Calls without end, until stop(). */
export class LabTraffic {
  readonly #count = { ...NONE }
  readonly #calls: Promise<unknown>
  #isStopped = false

  constructor(lab: MeshLab) {
    this.#calls = Promise.all([
      this.#again(async () => void this.#count[(await isGreeted(lab, 'front')) ? 'greeted' : 'failed']++),
      this.#again(async () => void this.#count[(await isGreeted(lab, 'batch')) ? 'leaked' : 'refused']++),
    ])
  }

  /** Begins when the first call is good; ends with the test. */
  static async start(t: Test, lab: MeshLab): Promise<LabTraffic> {
    await poll('the first call', async () => (await isGreeted(lab, 'front')) || null)
    const traffic = new LabTraffic(lab)
    t.teardown(() => traffic.stop())
    return traffic
  }

  async #again(call: () => Promise<void>): Promise<void> {
    for (; !this.#isStopped; await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))) await call()
  }

  /** Traffic goes on now, and has gone as it should. */
  async fine(t: Test, what: string): Promise<void> {
    const { greeted, refused } = this.#count
    const isOn = (): boolean => this.#count.greeted > greeted + 5 && this.#count.refused > refused + 5
    await poll('more calls', () => isOn() || null)
    t.same({ ...this.#count, greeted: 0, refused: 0 }, NONE, what)
  }

  /** Ends it; nothing has gone wrong up to its last call, and of good calls there were more than `atLeast`. */
  async end(t: Test, atLeast: number): Promise<void> {
    await this.stop()
    t.comment(JSON.stringify(this.#count))
    t.same({ ...this.#count, greeted: 0, refused: 0 }, NONE)
    t.ok(this.#count.greeted > atLeast)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#calls
  }
}
