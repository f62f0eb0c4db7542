// SPDX-License-Identifier: Apache-2.0
// Two-way copy between byte streams: the only place that moves payload. Back-pressure goes through, each half ends
// alone, a failure of one side ends the other with the same reason.
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from './byte-stream.ts'
import { CLOSED_OK } from './byte-stream.ts'
import { type HalfClosePolicy, HalfCloseWatch } from './half-close-watch.ts'

/** Hears the end of a relay: both streams are closed. */
export interface RelayOwner {
  /** The first byte of one side is on its way to the other. */
  onFirstByte(from: 'client' | 'server'): void
  onRelayClosed(reason: CloseReason): void
}

/** Is shown what a relay moves. `offset`: bytes of that direction before; bytes `[start, end)` are valid during the call. */
export interface RelayCapture {
  onData(isToServer: boolean, offset: number, bytes: Buffer, start: number, end: number): void
  onEnd(): void
}

/** One direction's reader: hands what `from` delivers to `to`. */
class RelaySide implements ByteStreamHandler {
  readonly #relay: Relay
  readonly #from: ByteStream
  readonly #to: ByteStream
  byteCount = 0
  isClosed = false

  constructor(relay: Relay, from: ByteStream, to: ByteStream) {
    this.#relay = relay
    this.#from = from
    this.#to = to
  }

  onData(block: Block, start: number, end: number): void {
    if (this.byteCount === 0) this.#relay.onFirstByte(this)
    if (this.#relay.capture !== null) this.#relay.onCaptured(this, block, start, end)
    this.byteCount += end - start
    if (!this.#to.write(block, start, end)) this.#from.pause()
  }

  onEnd(): void {
    this.#to.end()
    this.#relay.onHalfClosed()
  }

  onDrain(): void {
    this.#to.resume()
  }

  onClose(reason: CloseReason): void {
    this.isClosed = true
    if (reason.code !== 'OK') this.#to.destroy(reason)
    else this.#to.end() // in order for us: whatever the peer still sends has nowhere to go, but it may finish
    this.#relay.onSideClosed(reason)
  }
}

/** Couples two open streams until both are closed. */
export class Relay {
  /** null: nobody looks. */
  capture: RelayCapture | null = null
  readonly #owner: RelayOwner
  readonly #client: RelaySide
  readonly #server: RelaySide
  readonly #near: ByteStream
  readonly #halfClose: HalfClosePolicy | null
  #watch: HalfCloseWatch | null = null
  #reason: CloseReason = CLOSED_OK

  /**
   * `client` opened the connection, `server` answers it. Takes over the handlers of both. `halfClose` null: one half may
   * stay open alone for ever.
   */
  constructor(
    client: ByteStream,
    server: ByteStream,
    owner: RelayOwner,
    halfClose: HalfClosePolicy | null = null,
  ) {
    this.#owner = owner
    this.#near = client
    this.#halfClose = halfClose
    this.#client = new RelaySide(this, client, server)
    this.#server = new RelaySide(this, server, client)
    client.setHandler(this.#client)
    server.setHandler(this.#server)
  }

  /** Bytes from client to server. */
  get bytesToServer(): number {
    return this.#client.byteCount
  }
  get bytesToClient(): number {
    return this.#server.byteCount
  }

  /** How long nothing has moved since one half has ended, about; 0 while both are open. */
  get halfClosedStallMs(): number {
    return this.#watch?.stalledMs ?? 0
  }

  /** One half has ended, here or before the relay was made: from now on the other one has to move. */
  onHalfClosed(): void {
    if (this.#halfClose === null || this.#watch !== null) return
    const { timeoutMs } = this.#halfClose
    this.#watch = new HalfCloseWatch(
      this.#halfClose,
      () => this.bytesToServer + this.bytesToClient,
      () => this.#near.destroy({ code: 'HALF_CLOSE_TIMEOUT', detail: `no byte for ${timeoutMs / 1000} s` }),
    )
  }

  onFirstByte(side: RelaySide): void {
    this.#owner.onFirstByte(side === this.#client ? 'client' : 'server')
  }

  onCaptured(side: RelaySide, block: Block, start: number, end: number): void {
    this.capture?.onData(side === this.#client, side.byteCount, block.bytes, start, end)
  }

  onSideClosed(reason: CloseReason): void {
    if (this.#reason.code === 'OK') this.#reason = reason
    if (!this.#client.isClosed || !this.#server.isClosed) return
    this.#watch?.stop()
    this.capture?.onEnd()
    this.#owner.onRelayClosed(this.#reason)
  }
}
