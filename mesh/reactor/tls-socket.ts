// SPDX-License-Identifier: Apache-2.0
// TLS over a connected socket as a byte stream. Writes go through a staging buffer and leave once per turn; reads
// fill the reactor's block with as many records as there are, then deliver. Owns the descriptor and the SSL.
//
//   handshaking → open → closing → closed;   a failed handshake goes straight to closing
import { PendingBytes } from './buffer-pool.ts'
import {
  type Block,
  type ByteStream,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
  HEADROOM_BYTES,
} from './byte-stream.ts'
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, SHUT_WR } from './ffi/constants.ts'
import { describeErrno, errno, isFull, shutdown } from './ffi/libc.ts'
import * as o from './ffi/openssl.ts'
import { READ_BLOCK_BYTES } from './held-bytes.ts'
import {
  type ConnectionCertificates,
  connectionCertificates,
  isPeerRevoked,
  type RevokedCertificates,
} from './presented-certificate.ts'
import type { Reactor, ReadinessHandler } from './reactor.ts'
import type { Timer, TurnTask } from './scheduler.ts'
import { takeSocketError } from './socket-options.ts'
import {
  type HandshakeInProgress,
  REVOKED_DETAIL,
  type TlsCredentials,
  withHandshake,
} from './tls-context.ts'
import { beginHandshake, endHandshake, handshakeFailure, streamFailure } from './tls-handshake.ts'
import type { TlsHandler, TlsOptions } from './tls-options.ts'
import { type Staging, type StagingPool, type StagingUser, stagingPoolOf } from './tls-staging.ts'
import { type ShareMember, TURN_SHARE_BYTES, type TurnShare } from './turn-share.ts'

/** From here on a read looks like bulk, and more is likely to be there already. */
const FULL_READ_BYTES = 16_384
/** A record holds at most 16 KiB: with less room than this left the block is delivered first. */
const MIN_READ_ROOM_BYTES = 16_384
/** Unsent plaintext beyond what staging holds; above it write() says stop. */
const HIGH_WATER_BYTES = 65_536

type TlsState = 'handshaking' | 'open' | 'closing' | 'closed'

/** One TLS connection. */
export class TlsSocket implements ByteStream, ReadinessHandler, TurnTask, StagingUser, ShareMember {
  readonly fd: number
  isAtTurnEnd = false
  isInLine = false
  nextInLine: ShareMember | null = null
  readonly #share: TurnShare | null
  readonly #reactor: Reactor
  readonly #ssl: number
  readonly #socketBio: number
  readonly #credentials: TlsCredentials
  readonly #stagings: StagingPool
  #tlsHandler: TlsHandler | null
  #handshake: HandshakeInProgress | null
  #deadline: Timer | null
  #handler: ByteStreamHandler | null = null
  #state: TlsState = 'handshaking'
  #reason: CloseReason = CLOSED_OK
  #staging: Staging | null = null
  #pending: PendingBytes | null = null
  #events = EPOLLIN
  #isWatched = true
  #isPaused = false
  #isReadScheduled = false
  #isEndRequested = false
  #hasReadEnd = false
  /** close_notify is written, though maybe only into staging. */
  #isEndWritten = false
  #hasWriteEnd = false
  /** The socket is dead for writing; its last words are read in the next turn. */
  #hasWriteFailed = false
  /** The socket took less than it was given: nothing leaves until it is writable. */
  #isBlocked = false
  /** SSL_read wants to write first (key update). */
  #readWantsWrite = false
  #isDirty = false
  #owesDrain = false

  constructor(reactor: Reactor, fd: number, options: TlsOptions) {
    this.#reactor = reactor
    this.fd = fd
    this.#share = options.share ?? null
    this.#tlsHandler = options.handler
    this.#handshake = beginHandshake(options)
    this.#credentials = options.credentials
    this.#credentials.retain()
    this.#stagings = stagingPoolOf(reactor)
    this.#ssl = o.newSsl(options.context.pointer)
    this.#socketBio = o.newBio(o.BIO_s_socket())
    o.BIO_int_ctrl(this.#socketBio, o.BIO_C_SET_FD, 0, fd)
    o.SSL_set0_rbio(this.#ssl, this.#socketBio)
    this.#writeToSocket()
    this.#credentials.useIn(this.#ssl)
    if (options.role === 'client') o.SSL_set_connect_state(this.#ssl)
    else o.SSL_set_accept_state(this.#ssl)
    this.#deadline = reactor.startTimer(options.handshakeTimeoutMs, () =>
      this.#close({ code: 'HANDSHAKE_TIMEOUT', detail: `after ${options.handshakeTimeoutMs} ms` }),
    )
    if (options.isWatched) reactor.takeOver(fd, EPOLLIN, this)
    else reactor.watch(fd, EPOLLIN, this)
    if (options.role === 'client') reactor.inNextTurn(() => this.#handshakeInTurn())
  }

  setHandler(handler: ByteStreamHandler): void {
    this.#handler = handler
  }

  /** What both sides presented, read from the connection itself; null unless it is open. */
  certificates(): ConnectionCertificates | null {
    return this.#state === 'open' ? connectionCertificates(this.#ssl) : null
  }

  /** True when it is open and its peer has presented one of these. */
  isPeerRevoked(revoked: RevokedCertificates): boolean {
    return this.#state === 'open' && isPeerRevoked(this.#ssl, revoked)
  }

  get bufferedBytes(): number {
    return this.#pending?.byteLength ?? 0
  }

  get isStagingBusy(): boolean {
    return this.#isDirty || this.#isBlocked
  }

  onStagingLost(): void {
    this.#staging = null
    this.#writeToSocket()
  }

  write(block: Block, start: number, end: number): boolean {
    if (this.#state !== 'open' || this.#isEndRequested) return true
    if (this.bufferedBytes === 0 && !this.#isBlocked) {
      start = this.#encrypt(block, start, end)
      if (start === end || this.#state !== 'open') return true
    }
    this.#pending ??= new PendingBytes(this.#reactor.pool)
    this.#pending.append(block, start, end)
    if (this.#pending.byteLength < HIGH_WATER_BYTES) return true
    this.#owesDrain = true
    return false
  }

  pause(): void {
    this.#isPaused = true
    this.#updateEvents()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#updateEvents()
    this.#readAgain() // decrypted or read-ahead bytes inside OpenSSL make no event
  }

  end(): void {
    if (this.#isEndRequested || this.#state !== 'open') return
    this.#isEndRequested = true
    this.#becomeDirty()
  }

  destroy(reason: CloseReason): void {
    this.#close(reason)
  }

  onReady(events: number): void {
    if (this.#state === 'handshaking') {
      this.#handshakeInTurn()
      return
    }
    if ((events & EPOLLOUT) !== 0) {
      this.#isBlocked = false
      if (this.#readWantsWrite) this.#readAgain()
      this.#flush()
    }
    if (this.#state !== 'open') return
    if (!this.#isPaused && !this.#hasReadEnd) this.#readIfMay()
    else if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.#onHangUp(events)
  }

  #onHangUp(events: number): void {
    if ((events & EPOLLERR) !== 0) {
      this.#close({ code: 'TUNNEL_RESET', detail: describeErrno(takeSocketError(this.fd)) })
      return
    }
    this.#reactor.unwatch(this.fd)
    this.#isWatched = false
  }

  runInTurn(): boolean {
    if (this.#state === 'handshaking') {
      this.#continueHandshake()
      return true
    }
    const canRead = this.#state === 'open' && !this.#isPaused && !this.#hasReadEnd
    if (canRead) this.#read()
    this.#updateEvents()
    return canRead
  }

  #handshakeInTurn(): void {
    if (this.#state !== 'handshaking') return
    if (this.#share?.mayHandshake(this) ?? true) this.#continueHandshake()
    else this.#watchFor(0)
  }

  #readIfMay(): void {
    if (this.#share?.mayRead(this) ?? true) this.#read()
    else this.#updateEvents()
  }

  #continueHandshake(): void {
    if (this.#state !== 'handshaking' || this.#handshake === null) return
    const handshake = this.#handshake
    o.ERR_clear_error()
    const result = withHandshake(handshake, () => o.SSL_do_handshake(this.#ssl))
    if (result === 1) {
      this.#onSecure(handshake)
      return
    }
    const error = o.SSL_get_error(this.#ssl, result)
    if (error === o.SSL_ERROR_WANT_READ) this.#watchFor(EPOLLIN)
    else if (error === o.SSL_ERROR_WANT_WRITE) this.#watchFor(EPOLLOUT)
    else this.#close(handshakeFailure(handshake, error))
  }

  #onSecure(handshake: HandshakeInProgress): void {
    // A list may have come between the peer's certificate and its last word.
    if (isPeerRevoked(this.#ssl, handshake.revoked)) {
      this.#close({ code: 'CERT_REVOKED', detail: REVOKED_DETAIL })
      return
    }
    this.#deadline?.cancel()
    this.#deadline = null
    this.#handshake = null
    this.#state = 'open'
    this.#updateEvents()
    const peer = endHandshake(this.#ssl, handshake)
    const handler = this.#tlsHandler
    this.#tlsHandler = null
    handler?.onSecure(this, peer)
    if (this.#handler === null && this.#state === 'open')
      throw new TypeError('onSecure set no stream handler')
    this.#readAgain()
  }

  /** Encrypts as much as staging takes; returns where it stopped. */
  #encrypt(block: Block, start: number, end: number): number {
    this.#becomeDirty()
    while (start < end) {
      o.ERR_clear_error()
      const count = o.SSL_write(this.#ssl, block.address + start, end - start)
      if (count > 0) {
        start += count
        continue
      }
      const error = o.SSL_get_error(this.#ssl, count)
      if (error === o.SSL_ERROR_WANT_WRITE) {
        this.#isBlocked = true
        this.#updateEvents()
      } else if (error !== o.SSL_ERROR_WANT_READ) this.#close(streamFailure(error))
      break
    }
    return start
  }

  #becomeDirty(): void {
    if (this.#isDirty) return
    this.#isDirty = true
    if (this.#staging === null) this.#takeStaging()
    else this.#stagings.touch(this.#staging)
    this.#reactor.atTurnEnd(this)
  }

  #takeStaging(): void {
    const staging = this.#stagings.acquire(this)
    if (staging === null) return
    this.#staging = staging
    staging.attach(this.fd)
    o.BIO_up_ref(staging.bio)
    o.SSL_set0_wbio(this.#ssl, staging.bio)
  }

  #writeToSocket(): void {
    o.BIO_up_ref(this.#socketBio)
    o.SSL_set0_wbio(this.#ssl, this.#socketBio)
  }

  runAtTurnEnd(): void {
    if (this.#state === 'closing') this.#finishClosing()
    else if (this.#isDirty && !this.#isBlocked) this.#flush()
  }

  /** Sends what is staged, then what waits behind it, until the socket is full or nothing is left. */
  #flush(): void {
    if (this.#state !== 'open') return
    if (!this.#flushStaging()) return
    const pending = this.#pending
    while (pending !== null && pending.byteLength > 0) {
      const start = pending.headStart
      const stop = this.#encrypt(pending.headBlock, start, pending.headEnd)
      if (this.#state !== 'open') return
      if (stop > start) pending.consume(stop - start)
      if (!this.#flushStaging()) return
    }
    this.#pending = null
    this.#isDirty = false
    if (this.#isEndRequested && !this.#hasWriteEnd) this.#sendCloseNotify()
    this.#updateEvents()
    if (!this.#owesDrain || this.#isEndRequested) return
    this.#owesDrain = false
    this.#handler?.onDrain()
  }

  /** True when everything staged has left. */
  #flushStaging(): boolean {
    if (!this.#isBlocked && this.#staging !== null) {
      this.#isBlocked = o.BIO_ctrl(this.#staging.bio, o.BIO_CTRL_FLUSH, 0, 0) <= 0
      if (this.#isBlocked) {
        const code = errno()
        if (!isFull(code)) {
          this.#closeAfterLastWord(describeErrno(code))
          return false
        }
      }
    }
    if (this.#isBlocked) this.#updateEvents()
    return !this.#isBlocked
  }

  // SPEC RFC8446 §6.1: close_notify before the write side ends. Without room for it, it waits like any other bytes:
  // as long as the owner waits (HTTP/2: `linger`). A socket that will never take it has ended all the same.
  #sendCloseNotify(): void {
    if (!this.#isEndWritten) {
      o.ERR_clear_error()
      const result = o.SSL_shutdown(this.#ssl)
      this.#isBlocked = result < 0 && o.SSL_get_error(this.#ssl, result) === o.SSL_ERROR_WANT_WRITE
      o.ERR_clear_error()
      this.#isEndWritten = !this.#isBlocked // asked once more, OpenSSL would read and lose what it reads
    }
    const staging = this.#staging
    if (!this.#isBlocked && staging !== null && o.BIO_ctrl(staging.bio, o.BIO_CTRL_FLUSH, 0, 0) <= 0) {
      this.#isBlocked = isFull(errno())
      // Nobody takes it any more, least of all the socket that gets the buffer next.
      if (!this.#isBlocked) o.BIO_ctrl(staging.bio, o.BIO_CTRL_RESET, 0, 0)
    }
    if (this.#isBlocked) return
    this.#hasWriteEnd = true
    shutdown(this.fd, SHUT_WR)
    if (this.#hasReadEnd) this.#close(CLOSED_OK)
  }

  #read(): void {
    const block = this.#reactor.readBlock
    const mostBytes = this.#share?.creditBytes ?? TURN_SHARE_BYTES
    let filled = 0
    for (let total = 0; this.#state === 'open' && !this.#isPaused; ) {
      o.ERR_clear_error()
      const at = HEADROOM_BYTES + filled
      const count = o.SSL_read(this.#ssl, block.address + at, READ_BLOCK_BYTES - filled)
      if (count > 0) {
        filled += count
        total += count
        this.#share?.spend(count)
        // A small read took all there was: asking the socket again would cost a system call to hear so. If there is
        // more, epoll says so.
        if (total < FULL_READ_BYTES && o.SSL_has_pending(this.#ssl) === 0) {
          this.#handler?.onData(block, HEADROOM_BYTES, HEADROOM_BYTES + filled)
          return
        }
        if (READ_BLOCK_BYTES - filled >= MIN_READ_ROOM_BYTES && total < mostBytes) continue
        this.#handler?.onData(block, HEADROOM_BYTES, HEADROOM_BYTES + filled)
        filled = 0
        if (total < mostBytes) continue
        this.#readAgain()
        return
      }
      const error = o.SSL_get_error(this.#ssl, count)
      const errnoNow = error === o.SSL_ERROR_SYSCALL ? errno() : 0
      if (filled > 0) this.#handler?.onData(block, HEADROOM_BYTES, HEADROOM_BYTES + filled)
      this.#onReadStopped(error, errnoNow)
      return
    }
  }

  /** A peer that refuses us sends an alert and is gone: our write fails before the alert, the reason, was read. */
  #closeAfterLastWord(detail: string): void {
    if (this.#hasWriteFailed) return
    this.#hasWriteFailed = true
    this.#reactor.inNextTurn(() => {
      if (this.#state === 'open' && !this.#hasReadEnd) this.#read()
      if (this.#state === 'open') this.#close({ code: 'TUNNEL_RESET', detail })
    })
  }

  #onReadStopped(error: number, errnoNow: number): void {
    if (error === o.SSL_ERROR_WANT_READ || this.#state !== 'open') return
    if (error === o.SSL_ERROR_WANT_WRITE) {
      this.#readWantsWrite = true
      this.#updateEvents()
    } else if (error === o.SSL_ERROR_ZERO_RETURN) this.#onReadEnd()
    else this.#close(streamFailure(error, errnoNow))
  }

  #onReadEnd(): void {
    this.#hasReadEnd = true
    this.#updateEvents()
    this.#handler?.onEnd()
    if (this.#hasWriteEnd) this.#close(CLOSED_OK)
  }

  #readAgain(): void {
    if (this.#readWantsWrite) {
      this.#readWantsWrite = false
      this.#updateEvents()
    }
    if (this.#isReadScheduled) return
    this.#isReadScheduled = true
    this.#reactor.inNextTurn(() => {
      this.#isReadScheduled = false
      if (this.#state === 'open' && !this.#isPaused && !this.#hasReadEnd) this.#readIfMay()
    })
  }

  #updateEvents(): void {
    if (this.#state !== 'open') return
    const wantsWrite = this.#isBlocked || this.#readWantsWrite
    // What lies in the socket cannot be read before OpenSSL has written: an event for it would only spin.
    const wantsRead = !this.#isPaused && !this.#hasReadEnd && !this.#readWantsWrite && !this.isInLine
    this.#watchFor((wantsRead ? EPOLLIN : 0) | (wantsWrite ? EPOLLOUT : 0))
  }

  #watchFor(events: number): void {
    if (!this.#isWatched) {
      if (events === 0) return
      this.#isWatched = true
      this.#reactor.watch(this.fd, events, this)
    } else if (events !== this.#events) this.#reactor.rewatch(this.fd, events)
    this.#events = events
  }

  #close(reason: CloseReason): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    this.#deadline?.cancel()
    this.#reason = reason
    this.#state = 'closing'
    this.#reactor.atTurnEnd(this)
  }

  /** At the end of the turn, so that no caller further up the stack meets a freed SSL. */
  #finishClosing(): void {
    this.#state = 'closed'
    this.#pending?.clear()
    this.#pending = null
    if (this.#staging !== null) {
      // Last words (a GOAWAY) leave if the socket takes them; what does not must not leave through the next
      // owner's socket.
      if (this.isStagingBusy && o.BIO_ctrl(this.#staging.bio, o.BIO_CTRL_FLUSH, 0, 0) <= 0) {
        o.BIO_ctrl(this.#staging.bio, o.BIO_CTRL_RESET, 0, 0)
      }
      this.#staging.user = null
      this.#staging = null
    }
    // No reset: it would discard an alert or GOAWAY on its way. The peer knows by the missing close_notify.
    this.#reactor.closeLater(this.fd)
    o.freeSsl(this.#ssl)
    o.forgetBio() // the socket BIO: the SSL held its only reference
    this.#credentials.release()
    if (this.#tlsHandler !== null) this.#tlsHandler.onHandshakeFailed(this.#reason)
    else this.#handler?.onClose(this.#reason)
  }
}
