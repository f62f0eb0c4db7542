// SPDX-License-Identifier: Apache-2.0
// A connected TCP socket as a byte stream. Reads go into the reactor's shared block and are delivered in place;
// what the kernel does not take is copied into pooled blocks. Or its bytes go into another socket through a pipe, unseen.
// The stream owns its descriptor.
import { PendingBytes } from './buffer-pool.ts'
import {
  type Block,
  type ByteStream,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
  HEADROOM_BYTES,
} from './byte-stream.ts'
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, MSG_NOSIGNAL, SHUT_WR } from './ffi/constants.ts'
import { describeErrno, E, errno, isFull, read, send, shutdown } from './ffi/libc.ts'
import { LEAST_READ_BYTES } from './held-bytes.ts'
import type { Pipe } from './pipe-pool.ts'
import type { Reactor, ReadinessHandler } from './reactor.ts'
import type { TurnTask } from './scheduler.ts'
import { type Keepalive, setKeepalive, setResetOnClose, takeSocketError } from './socket-options.ts'
import type { ShareMember, TurnShare } from './turn-share.ts'

/** Sockets alive in this thread; for leak tests. */
export const tcpSocketCount = { open: 0 }

/** How the kernel ends a connection whose peer did not answer for too long: where routers told why, it says that instead. */
const GONE = new Set<number>([E.TIMEDOUT, E.HOSTUNREACH, E.NETUNREACH])

/** Names the failure of an established connection. */
export function reasonOfErrno(code: number): CloseReason {
  if (GONE.has(code)) return { code: 'PEER_UNRESPONSIVE', detail: describeErrno(code) }
  return { code: 'PEER_RESET', detail: describeErrno(code) }
}

/** Hears of bytes that go from one socket into another one inside the kernel, in place of `onData`. */
export interface SpliceOwner {
  /** So many are on their way; `hasRoom` as what `write` returns. */
  onSpliced(bytes: number, hasRoom: boolean): void
}

/** open → closing (reason known, onClose due at the end of the turn) → closed. */
type TcpState = 'open' | 'closing' | 'closed'

/** An established connection. */
export class TcpSocket implements ByteStream, ReadinessHandler, TurnTask, ShareMember {
  readonly fd: number
  isAtTurnEnd = false
  isInLine = false
  nextInLine: ShareMember | null = null
  readonly #reactor: Reactor
  readonly #share: TurnShare | null
  #handler: ByteStreamHandler
  #state: TcpState = 'open'
  #reason: CloseReason = CLOSED_OK
  #pending: PendingBytes | null = null
  /** Not empty: goes out before `#pending`. */
  #pipe: Pipe | null = null
  #spliceTo: TcpSocket | null = null
  #spliceOwner: SpliceOwner | null = null
  #events: number
  #isPaused = false
  #isEndRequested = false
  #hasReadEnd = false
  #hasWriteEnd = false
  #isWatched = true

  /**
   * Takes over `fd`, which must be connected and non-blocking. `isWatched`: it is in the epoll set already. `share`: of
   * whose part of a turn it reads; null: it reads whenever it can.
   */
  constructor(
    reactor: Reactor,
    fd: number,
    handler: ByteStreamHandler,
    isWatched = false,
    share: TurnShare | null = null,
  ) {
    this.#reactor = reactor
    this.#share = share
    this.fd = fd
    this.#handler = handler
    this.#events = EPOLLIN
    if (isWatched) reactor.takeOver(fd, EPOLLIN, this)
    else reactor.watch(fd, EPOLLIN, this)
    tcpSocketCount.open++
  }

  setHandler(handler: ByteStreamHandler): void {
    this.#handler = handler
    this.splice(null, null)
  }

  /**
   * What it reads from now on goes into `to` without being seen, as if written to it; what cannot is still handed to
   * `onData`. null: everything is.
   */
  splice(to: TcpSocket | null, owner: SpliceOwner | null): void {
    this.#spliceTo = to
    this.#spliceOwner = owner
  }

  /** From now on its peer is asked for so often (TCP keepalive), and given up so late. */
  askForPeer(keepalive: Keepalive): void {
    if (this.#state === 'open') setKeepalive(this.fd, keepalive)
  }

  get bufferedBytes(): number {
    return (this.#pipe?.byteLength ?? 0) + (this.#pending?.byteLength ?? 0)
  }

  write(block: Block, start: number, end: number): boolean {
    if (this.#state !== 'open' || this.#isEndRequested) return true
    if (this.bufferedBytes === 0) {
      const sent = send(this.fd, block.address + start, end - start, MSG_NOSIGNAL)
      if (sent === end - start) return true
      if (sent < 0) {
        const code = errno()
        if (!isFull(code)) {
          this.#close(reasonOfErrno(code))
          return true
        }
      } else start += sent
    }
    this.#pending ??= new PendingBytes(this.#reactor.pool)
    this.#pending.append(block, start, end)
    this.#updateEvents()
    return false
  }

  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#updateEvents()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#updateEvents()
  }

  end(): void {
    if (this.#isEndRequested || this.#state !== 'open') return
    this.#isEndRequested = true
    if (this.bufferedBytes === 0) this.#shutdownWrites()
  }

  destroy(reason: CloseReason): void {
    this.#close(reason)
  }

  onReady(events: number): void {
    if ((events & EPOLLOUT) !== 0) this.#flush()
    if (this.#state !== 'open') return
    if (!this.#isPaused && !this.#hasReadEnd) {
      if (this.#share?.mayRead(this) ?? true) this.#read()
      else this.#updateEvents()
    } else if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.#onHangUp(events)
  }

  /** Level-triggered HUP and ERR cannot be masked: an error ends the stream, a plain hang-up is unwatched. */
  #onHangUp(events: number): void {
    if ((events & EPOLLERR) !== 0) {
      this.#close(reasonOfErrno(takeSocketError(this.fd)))
      return
    }
    this.#reactor.unwatch(this.fd)
    this.#isWatched = false
  }

  runInTurn(): boolean {
    const canRead = this.#state === 'open' && !this.#isPaused && !this.#hasReadEnd
    if (canRead) this.#read()
    this.#updateEvents()
    return canRead
  }

  #read(): void {
    const block = this.#reactor.readBlock
    const most = this.#reactor.mostReadBytes
    // Whoever may read a byte may read this much: smaller reads cost more than they leave to others.
    const mostBytes =
      this.#share === null ? most : Math.min(most, Math.max(this.#share.creditBytes, LEAST_READ_BYTES))
    const spliced = this.#spliceTo?.takeFrom(this.fd, mostBytes) ?? null
    const count = spliced ?? read(this.fd, block.address + HEADROOM_BYTES, mostBytes)
    if (count > 0) {
      this.#share?.spend(count)
      if (spliced === null) this.#handler.onData(block, HEADROOM_BYTES, HEADROOM_BYTES + count)
      else this.#spliceOwner?.onSpliced(count, this.#spliceTo?.bufferedBytes === 0)
    } else if (count === 0) this.#onReadEnd()
    else {
      const code = errno()
      if (code !== E.AGAIN && code !== E.INTR) this.#close(reasonOfErrno(code))
    }
  }

  /** For a socket that is spliced into this one: as read(2) of `fd`, with errno; null: read it and write it here. */
  takeFrom(fd: number, mostBytes: number): number | null {
    if (this.#state !== 'open' || this.#isEndRequested || this.bufferedBytes > 0) return null
    const { pipes } = this.#reactor
    const pipe = pipes.take()
    if (pipe === null) return null
    const count = pipe.fill(fd, mostBytes)
    if (count === null || count <= 0) {
      pipes.give(pipe)
      return count
    }
    this.#pipe = pipe
    if (!this.#drainPipe()) this.#updateEvents()
    return count
  }

  /** False when something is left in the pipe, for now or, with the socket, for ever. */
  #drainPipe(): boolean {
    const pipe = this.#pipe
    if (pipe === null) return true
    if (pipe.drain(this.fd) < 0) {
      const code = errno()
      if (!isFull(code)) this.#close(reasonOfErrno(code))
    }
    if (pipe.byteLength > 0) return false
    this.#pipe = null
    this.#reactor.pipes.give(pipe)
    return true
  }

  #onReadEnd(): void {
    this.#hasReadEnd = true
    this.#updateEvents()
    this.#handler.onEnd()
    this.#closeWhenBothEnded()
  }

  #flush(): void {
    if (!this.#drainPipe()) return
    const pending = this.#pending
    while (pending !== null && pending.byteLength > 0) {
      const start = pending.headStart
      const size = pending.headEnd - start
      const sent = send(this.fd, pending.headBlock.address + start, size, MSG_NOSIGNAL)
      if (sent < 0) {
        const code = errno()
        if (isFull(code)) return
        this.#close(reasonOfErrno(code))
        return
      }
      pending.consume(sent)
      if (sent < size) return
    }
    this.#pending = null
    this.#updateEvents()
    if (this.#isEndRequested) this.#shutdownWrites()
    else this.#handler.onDrain()
  }

  #shutdownWrites(): void {
    this.#hasWriteEnd = true
    if (shutdown(this.fd, SHUT_WR) !== 0) {
      const code = errno()
      if (code !== E.NOTCONN) this.#close(reasonOfErrno(code))
    }
    this.#closeWhenBothEnded()
  }

  #closeWhenBothEnded(): void {
    if (this.#hasReadEnd && this.#hasWriteEnd) this.#close(CLOSED_OK)
  }

  #updateEvents(): void {
    if (this.#state !== 'open') return
    const wantsRead = !this.#isPaused && !this.#hasReadEnd && !this.isInLine
    const events = (wantsRead ? EPOLLIN : 0) | (this.bufferedBytes > 0 ? EPOLLOUT : 0)
    if (!this.#isWatched) {
      if (events === 0) return
      this.#isWatched = true
      this.#events = events
      this.#reactor.watch(this.fd, events, this)
    } else if (events !== this.#events) {
      this.#events = events
      this.#reactor.rewatch(this.fd, events)
    }
  }

  #close(reason: CloseReason): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    this.#reason = reason
    this.#pending?.clear()
    this.#pending = null
    if (this.#pipe !== null) this.#reactor.pipes.give(this.#pipe)
    this.#pipe = null
    if (reason.code !== 'OK') setResetOnClose(this.fd)
    this.#reactor.closeLater(this.fd)
    this.#reactor.atTurnEnd(this)
  }

  runAtTurnEnd(): void {
    if (this.#state !== 'closing') return
    this.#state = 'closed'
    tcpSocketCount.open--
    this.#handler.onClose(this.#reason)
  }
}
