// SPDX-License-Identifier: Apache-2.0
// A worker's part of a capture: what relays of one pod move goes into the ring that main reads. Without a capture a relay
// asks whether there is one, and that is all it costs.
import type { RelayCapture } from '../../mesh/reactor/relay.ts'
import type { CaptureRing } from '../../mesh/telemetry/capture-ring.ts'

const NOTHING = Buffer.alloc(0)

/** The ends of a captured connection, `ip:port` each. */
export interface CapturedEnds {
  readonly client: string
  readonly server: string
  /** False: bytes were moved before the capture began. */
  readonly isWhole: boolean
}

/** Of one pod in one worker. */
export class PayloadCapture {
  readonly #ring: CaptureRing
  readonly #nowMs: () => number
  #nextNumber = 1

  /** `nowMs`: epoch ms. */
  constructor(ring: CaptureRing, nowMs: () => number) {
    this.#ring = ring
    this.#nowMs = nowMs
  }

  /** A connection is captured from now on. */
  open(ends: CapturedEnds): RelayCapture {
    const connection = this.#nextNumber++
    const about = Buffer.from(JSON.stringify(ends))
    const frame = (kind: 'begin' | 'end') => ({ kind, connection, atMs: this.#nowMs(), offset: 0 })
    this.#ring.push(frame('begin'), about, 0, about.length)
    return {
      onData: (isToServer, offset, bytes, start, end) => {
        const kind = isToServer ? 'to-server' : 'to-client'
        this.#ring.push({ kind, connection, atMs: this.#nowMs(), offset }, bytes, start, end)
      },
      onEnd: () => void this.#ring.push(frame('end'), NOTHING, 0, 0),
    }
  }
}
