// SPDX-License-Identifier: Apache-2.0
// HTTP/2 frames as bytes: constants, the 9-byte header, and encoders of the control frames. Pure functions on
// Buffers; nothing is allocated. Spec: RFC 9113 §4.1, §6.

/** Bytes of a frame header. */
export const FRAME_HEADER_BYTES = 9
/** What a client sends first (RFC 9113 §3.4). */
export const CLIENT_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

/** Frame types of RFC 9113 §6. */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const

/** Flags; ACK and END_STREAM share a bit on different frames. */
export const FLAG = { ACK: 0x1, END_STREAM: 0x1, END_HEADERS: 0x4, PADDED: 0x8, PRIORITY: 0x20 } as const

/** Identifiers of SETTINGS parameters (RFC 9113 §6.5.2). */
export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const

/** Largest flow-control window and largest stream id. */
export const MAX_WINDOW_BYTES = 0x7fff_ffff
export const MAX_STREAM_ID = 0x7fff_ffff
/** Values before any SETTINGS (RFC 9113 §6.5.2, §6.9.2). */
export const DEFAULT_WINDOW_BYTES = 65_535
export const DEFAULT_MAX_FRAME_BYTES = 16_384
/** Upper end of MAX_FRAME_SIZE. */
export const LARGEST_MAX_FRAME_BYTES = 0xff_ffff

export function readUint24(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0)
}

/** Reads 31 bits and drops the reserved one, as RFC 9113 §4.1 asks receivers to. */
export function readUint31(bytes: Buffer, at: number): number {
  return (
    (((bytes[at] ?? 0) & 0x7f) << 24) |
    ((bytes[at + 1] ?? 0) << 16) |
    ((bytes[at + 2] ?? 0) << 8) |
    (bytes[at + 3] ?? 0)
  )
}

/** Reads 32 bits as a number from 0 to 2^32−1. */
export function readUint32(bytes: Buffer, at: number): number {
  return (readUint31(bytes, at) | ((bytes[at] ?? 0) & 0x80 ? 0x8000_0000 : 0)) >>> 0
}

export function writeUint32(bytes: Buffer, at: number, value: number): number {
  bytes[at] = value >>> 24
  bytes[at + 1] = (value >>> 16) & 0xff
  bytes[at + 2] = (value >>> 8) & 0xff
  bytes[at + 3] = value & 0xff
  return at + 4
}

/** Writes a frame header and returns the position after it. */
export function writeFrameHeader(
  bytes: Buffer,
  at: number,
  payloadBytes: number,
  type: number,
  flags: number,
  streamId: number,
): number {
  bytes[at] = payloadBytes >>> 16
  bytes[at + 1] = (payloadBytes >>> 8) & 0xff
  bytes[at + 2] = payloadBytes & 0xff
  bytes[at + 3] = type
  bytes[at + 4] = flags
  return writeUint32(bytes, at + 5, streamId)
}

/** Writes a SETTINGS frame of `[identifier, value, identifier, value, …]`. */
export function writeSettings(bytes: Buffer, at: number, pairs: readonly number[]): number {
  let next = writeFrameHeader(bytes, at, (pairs.length >> 1) * 6, FRAME.SETTINGS, 0, 0)
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const identifier = pairs[i] ?? 0
    bytes[next] = identifier >>> 8
    bytes[next + 1] = identifier & 0xff
    next = writeUint32(bytes, next + 2, pairs[i + 1] ?? 0)
  }
  return next
}

export function writeSettingsAck(bytes: Buffer, at: number): number {
  return writeFrameHeader(bytes, at, 0, FRAME.SETTINGS, FLAG.ACK, 0)
}

/** Writes a WINDOW_UPDATE; `streamId` 0 means the connection. `increment` is 1 … 2^31−1. */
export function writeWindowUpdate(bytes: Buffer, at: number, streamId: number, increment: number): number {
  return writeUint32(bytes, writeFrameHeader(bytes, at, 4, FRAME.WINDOW_UPDATE, 0, streamId), increment)
}

export function writeRstStream(bytes: Buffer, at: number, streamId: number, errorCode: number): number {
  return writeUint32(bytes, writeFrameHeader(bytes, at, 4, FRAME.RST_STREAM, 0, streamId), errorCode)
}

/** Writes a PING whose eight bytes are `high` and `low`. */
export function writePing(bytes: Buffer, at: number, isAck: boolean, high: number, low: number): number {
  const next = writeFrameHeader(bytes, at, 8, FRAME.PING, isAck ? FLAG.ACK : 0, 0)
  return writeUint32(bytes, writeUint32(bytes, next, high), low)
}

/** Writes a GOAWAY; `debug` is ASCII for the people who read captures. */
export function writeGoaway(
  bytes: Buffer,
  at: number,
  lastStreamId: number,
  errorCode: number,
  debug: string,
): number {
  const next = writeFrameHeader(bytes, at, 8 + debug.length, FRAME.GOAWAY, 0, 0)
  const text = writeUint32(bytes, writeUint32(bytes, next, lastStreamId), errorCode)
  return text + bytes.write(debug, text, 'latin1')
}
