// SPDX-License-Identifier: Apache-2.0
// A waypoint that stands in for ours, as a process in a pod's namespace, with what it saw.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import { poll } from './mesh-lab.ts'
import type { StandInOptions, StandInRecord } from './waypoint-stand-in.ts'

const PROGRAM = fileURLToPath(new URL('./waypoint-stand-in.ts', import.meta.url))

/** Ends with stop(), or with the test. */
export class WaypointProcess {
  /** Every CONNECT that was answered, oldest first. */
  readonly seen: StandInRecord[] = []
  readonly #child: ChildProcess
  #isUp = false

  private constructor(child: ChildProcess) {
    this.#child = child
    if (child.stdout === null) throw new Error('its output is a pipe')
    createInterface(child.stdout).on('line', (line) => {
      const told = JSON.parse(line) as StandInRecord | 'up' // as: the program's own lines
      if (told === 'up') this.#isUp = true
      else this.seen.push(told)
    })
  }

  /** Serves when this resolves. */
  static async start(namespace: NetworkNamespace, options: StandInOptions): Promise<WaypointProcess> {
    const start = (): ChildProcess =>
      spawn(process.execPath, ['--no-warnings', PROGRAM, JSON.stringify(options)], {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: AGENT_ENVIRONMENT,
      })
    const waypoint = new WaypointProcess(namespace.run(start))
    await poll('the waypoint', () => waypoint.#isUp || null)
    return waypoint
  }

  /** Waits for one that matches, beyond the first `known`. */
  async sees(known: number, holds: (record: StandInRecord) => boolean): Promise<StandInRecord> {
    return await poll('a CONNECT at the waypoint', () => this.seen.slice(known).find(holds) ?? null)
  }

  async stop(): Promise<void> {
    const child = this.#child
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.stdin?.end()
    await ended
  }
}
