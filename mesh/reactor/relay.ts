// SPDX-License-Identifier: Apache-2.0
// Two-way copy between byte streams: the only place that moves payload. Back-pressure goes through, each half ends
// alone, a failure of one side ends the other with the same reason. Bulk between two plain sockets, at which nobody looks,
// is spliced: the kernel moves its pages, and it goes on being counted here.
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from './byte-stream.ts'
import { CLOSED_OK } from './byte-stream.ts'
import { type HalfClosePolicy, HalfCloseWatch } from './half-close-watch.ts'
import type { Keepalive } from './socket-options.ts'
import { type SpliceOwner, TcpSocket } from './tcp-socket.ts'

// Also what TcpSocket reads at least when its workload has used up its turn: bulk in company stays bulk.
/** A read that is bulk: from here on it costs less to have the kernel move pages than to copy bytes. */
export const BULK_READ_BYTES = 16_384
/** Such reads in a row until a direction is spliced; as many smaller ones in a row until it is copied again. */
export const BULK_RUN_READS = 8

/** Hears the end of a relay: both streams are closed. */
export interface RelayOwner {
  /** The first byte of one side is on its way to the other. */
  onFirstByte(from: 'client' | 'server'): void
  /**
   * The server has failed before a byte or an end went either way: for the client it is as if nobody had been there. True: the
   * owner calls replaceServer(), or destroys the client, now or later. Without it the relay ends.
   */
  onServerLost?(reason: CloseReason): boolean
  onRelayClosed(reason: CloseReason): void
}

/** Is shown what a relay moves. `offset`: bytes of that direction before; bytes `[start, end)` are valid during the call. */
export interface RelayCapture {
  onData(isToServer: boolean, offset: number, bytes: Buffer, start: number, end: number): void
  onEnd(): void
}

/** One direction's reader: hands what `from` delivers to `to`. */
class RelaySide implements ByteStreamHandler, SpliceOwner {
  readonly #relay: Relay
  readonly #from: ByteStream
  readonly #to: ByteStream
  byteCount = 0
  isClosed = false
  #isSpliced = false
  /** Bulk reads in a row; while spliced: smaller ones that it would still bear. */
  #runReads = 0

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
    if (this.#isSpliced) return
    if (end - start < BULK_READ_BYTES) this.#runReads = 0
    else if (++this.#runReads >= BULK_RUN_READS) this.#splice()
  }

  onSpliced(bytes: number, hasRoom: boolean): void {
    this.byteCount += bytes
    if (!hasRoom) this.#from.pause()
    if (bytes >= BULK_READ_BYTES) this.#runReads = BULK_RUN_READS
    else if (--this.#runReads === 0) this.copy()
  }

  #splice(): void {
    const [from, to] = [this.#from, this.#to]
    if (this.#relay.capture !== null || !(from instanceof TcpSocket && to instanceof TcpSocket)) return
    this.#isSpliced = true
    this.#runReads = BULK_RUN_READS
    from.splice(to, this)
  }

  /** Bytes are looked at again, from the next one that is read on. */
  copy(): void {
    this.#runReads = 0
    if (!this.#isSpliced) return
    this.#isSpliced = false
    if (this.#from instanceof TcpSocket) this.#from.splice(null, null)
  }

  /** The peer that it reads is asked for as said, where that is a socket of its own. */
  askFor(keepalive: Keepalive): void {
    if (!this.isClosed && this.#from instanceof TcpSocket) this.#from.askForPeer(keepalive)
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
    if (reason.code !== 'OK' && this.#relay.isReplaced(this, reason)) return
    if (reason.code !== 'OK') this.#to.destroy(reason)
    else this.#to.end() // in order for us: whatever the peer still sends has nowhere to go, but it may finish
    this.#relay.onSideClosed(reason)
  }
}

/** Couples two open streams until both are closed. */
export class Relay {
  #capture: RelayCapture | null = null
  readonly #owner: RelayOwner
  #client: RelaySide
  #server: RelaySide
  readonly #near: ByteStream
  readonly #halfClose: HalfClosePolicy | null
  #watch: HalfCloseWatch | null = null
  #reason: CloseReason = CLOSED_OK
  #hasHalfEnded = false

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

  /** null: nobody looks. */
  get capture(): RelayCapture | null {
    return this.#capture
  }
  set capture(capture: RelayCapture | null) {
    this.#capture = capture
    this.#client.copy()
    this.#server.copy()
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
    this.#hasHalfEnded = true
    if (this.#halfClose === null || this.#watch !== null) return
    const { timeoutMs, keepalive } = this.#halfClose
    this.#watch = new HalfCloseWatch(
      this.#halfClose,
      () => this.bytesToServer + this.bytesToClient,
      () => {
        this.#client.askFor(keepalive)
        this.#server.askFor(keepalive)
      },
      () => this.#near.destroy({ code: 'HALF_CLOSE_TIMEOUT', detail: `no byte for ${timeoutMs / 1000} s` }),
    )
  }

  /** The owner has another server in place of one that was lost, and takes over. */
  isReplaced(side: RelaySide, reason: CloseReason): boolean {
    if (side !== this.#server || this.#client.isClosed || this.#hasHalfEnded) return false
    if (this.bytesToServer + this.bytesToClient > 0 || this.#owner.onServerLost === undefined) return false
    this.#near.pause() // its first byte is for the next one
    if (this.#owner.onServerLost(reason)) return true
    this.#near.resume()
    return false
  }

  /** After onServerLost(). Takes over the handler. Who looked at what is moved is to begin again. */
  replaceServer(server: ByteStream): void {
    this.#capture?.onEnd()
    this.#capture = null
    this.#client = new RelaySide(this, this.#near, server)
    this.#server = new RelaySide(this, server, this.#near)
    this.#near.setHandler(this.#client)
    server.setHandler(this.#server)
    if (this.#hasHalfEnded) server.end()
    this.#near.resume()
  }

  onFirstByte(side: RelaySide): void {
    this.#owner.onFirstByte(side === this.#client ? 'client' : 'server')
  }

  onCaptured(side: RelaySide, block: Block, start: number, end: number): void {
    this.#capture?.onData(side === this.#client, side.byteCount, block.bytes, start, end)
  }

  onSideClosed(reason: CloseReason): void {
    if (this.#reason.code === 'OK') this.#reason = reason
    if (!this.#client.isClosed || !this.#server.isClosed) return
    this.#watch?.stop()
    this.#capture?.onEnd()
    this.#owner.onRelayClosed(this.#reason)
  }
}
