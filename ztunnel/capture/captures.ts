// SPDX-License-Identifier: Apache-2.0
// Captures the decrypted payload of one pod for somebody who may: off unless the node allows it, one at a time, bounded in
// time and bytes, and the log says who looks at whom. A reader that stalls loses packets; traffic waits for nobody.

import type { AdminSink } from '../../mesh/admin/admin-answers.ts'
import type { PodInfo } from '../../mesh/generations/pods.ts'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { CaptureRing } from '../../mesh/telemetry/capture-ring.ts'
import type { DownMessage } from '../worker-messages.ts'
import { CaptureFile } from './capture-file.ts'

/** How often the workers' rings are emptied: at 4 MiB each that is 200 MB/s. */
const DRAIN_INTERVAL_MS = 20
/** Bytes that wait for the reader; beyond it packets are lost. */
export const MAX_CAPTURE_UNREAD_BYTES = 8_388_608

/** What is asked for, within the limits. */
export interface CaptureAsked {
  readonly pod: PodInfo
  readonly seconds: number
  readonly maxBytes: number
  /** As the caller says; whoever reaches the socket runs the node. */
  readonly by: string
}

/** What it takes. */
export interface CapturesOptions {
  readonly workers: {
    readonly count: number
    post(worker: number, message: DownMessage): void
  }
  readonly clock: Clock
  readonly log: Log
}

interface Running {
  readonly uid: string
  readonly rings: readonly CaptureRing[]
}

/** Of one node. */
export class Captures {
  readonly #options: CapturesOptions
  #running: Running | null = null

  constructor(options: CapturesOptions) {
    this.#options = options
  }

  get isRunning(): boolean {
    return this.#running !== null
  }

  /** Begins; returns what ends it. Only while none runs. */
  open({ pod, seconds, maxBytes, by }: CaptureAsked, sink: AdminSink): () => void {
    const { workers, clock, log } = this.#options
    const name = `${pod.namespace}/${pod.name}`
    const about = { audit: 'capture', pod: name, uid: pod.uid, by }
    const rings = Array.from({ length: workers.count }, () => new CaptureRing())
    const running = { uid: pod.uid, rings }
    const file = new CaptureFile(name)
    const untilMs = clock.passedMs + seconds * 1000
    let [byteCount, lostCount]: [number, number] = [0, 0]
    let timer: ClockTimer | null = null
    const drain = (): void => {
      for (const [worker, ring] of rings.entries())
        ring.drain((frame) => {
          const blocks = file.blocks(worker, frame)
          if (byteCount + blocks.length > maxBytes) byteCount = maxBytes
          else if (sink.unreadBytes > MAX_CAPTURE_UNREAD_BYTES) lostCount++
          else if (blocks.length > 0) {
            byteCount += blocks.length
            sink.write(blocks)
          }
        })
    }
    const close = (): void => {
      if (this.#running !== running) return
      this.#running = null
      timer?.cancel()
      this.#tell(pod.uid, null)
      const lost = lostCount + rings.reduce((sum, ring) => sum + ring.droppedCount, 0)
      log.warn({ ...about, bytes: byteCount, lost }, 'payload capture ended')
      sink.end()
    }
    const tick = (): void => {
      drain()
      if (clock.passedMs >= untilMs || byteCount >= maxBytes) close()
      else timer = clock.startTimer(DRAIN_INTERVAL_MS, tick)
    }
    log.warn({ ...about, seconds, maxBytes }, 'payload capture begins')
    this.#running = running
    sink.write(file.header)
    this.#tell(pod.uid, rings)
    tick()
    return close
  }

  /** A worker has (re)started and knows its pods. */
  introduce(worker: number): void {
    const memory = this.#running?.rings[worker]?.memory
    if (this.#running !== null && memory !== undefined)
      this.#options.workers.post(worker, { type: 'capture', uid: this.#running.uid, memory })
  }

  #tell(uid: string, rings: readonly CaptureRing[] | null): void {
    const { workers } = this.#options
    for (let worker = 0; worker < workers.count; worker++)
      workers.post(worker, { type: 'capture', uid, memory: rings?.[worker]?.memory ?? null })
  }
}
