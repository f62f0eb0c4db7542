// SPDX-License-Identifier: Apache-2.0
// The narrow interface between the reactor and everything above it: TCP sockets, TLS sockets, HTTP/2 streams
// and the in-memory pair are all byte streams. Synchronous callbacks only; no promise, no Node stream.
import type { ReasonCode } from '../errors/reasons.ts'

/** Memory that native code and JavaScript share. Views on it are valid only while its owner says so. */
export interface Block {
  readonly bytes: Buffer
  /** Native address of `bytes[0]`; 0 for blocks of the in-memory pair, which no native call may see. */
  readonly address: number
}

/**
 * Bytes in front of every delivered chunk that the receiver may overwrite when `start >= HEADROOM_BYTES`:
 * room for a 9-byte frame header, so that a payload is framed where it lies.
 */
export const HEADROOM_BYTES = 16

/** Why a stream ended. `OK` = both halves ended in order. */
export interface CloseReason {
  readonly code: ReasonCode
  readonly detail: string
}
export const CLOSED_OK: CloseReason = { code: 'OK', detail: '' }

/** What a stream tells its owner, always within a reactor turn, never from inside a call of the owner's. */
export interface ByteStreamHandler {
  /** Bytes `[start, end)` of `block`, valid during the call only. */
  onData(block: Block, start: number, end: number): void
  /** The peer ended its half (FIN, END_STREAM, close_notify). Writing may go on. At most once. */
  onEnd(): void
  /** After `write` returned false: buffered bytes have left, write again. */
  onDrain(): void
  /** Exactly once and last. Nothing may be called on the stream afterwards except destroy (a no-op). */
  onClose(reason: CloseReason): void
}

/** A two-way, half-closable stream of bytes with back-pressure. */
export interface ByteStream {
  /** Must be set before the first turn ends; may be replaced (protocol hand-over). */
  setHandler(handler: ByteStreamHandler): void
  /**
   * Takes all of `[start, end)`: what cannot leave now is copied and owned by the stream. Returns false when
   * the caller should stop until onDrain (it may still write; the bytes are kept). May overwrite
   * HEADROOM_BYTES in front of `start` when `start >= HEADROOM_BYTES`. After end or destroy: ignored, true.
   */
  write(block: Block, start: number, end: number): boolean
  /** Stops onData (and, through flow control, the peer). Idempotent. */
  pause(): void
  resume(): void
  /** Ends our half after everything written has left. Idempotent. */
  end(): void
  /** Ends both halves at once (RST, RST_STREAM). onClose follows at the end of the turn. Idempotent. */
  destroy(reason: CloseReason): void
  /** Bytes written and not yet handed to the kernel or the peer's window. */
  readonly bufferedBytes: number
}
