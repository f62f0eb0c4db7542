// SPDX-License-Identifier: Apache-2.0
// SETTINGS: what we announce and what the peer announced, checked. Spec: RFC 9113 §6.5.
import { type Refusal, refuse } from '../errors/refusal.ts'
import {
  DEFAULT_MAX_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  LARGEST_MAX_FRAME_BYTES,
  MAX_WINDOW_BYTES,
  readUint32,
  SETTING,
} from './frames.ts'
import { H2_LIMITS } from './limits.ts'

export type Role = 'client' | 'server'

/** What we announce and enforce. */
export interface LocalSettings {
  readonly streamWindowBytes: number
  readonly connectionWindowBytes: number
  readonly maxFrameBytes: number
  readonly maxHeaderListBytes: number
  /** Streams the peer may have open; only a server has such streams. */
  readonly maxConcurrentStreams: number
}

/** The defaults of limits.ts for a role. */
export function localSettings(role: Role, overrides: Partial<LocalSettings> = {}): LocalSettings {
  return {
    streamWindowBytes: H2_LIMITS.streamWindow.value,
    connectionWindowBytes: H2_LIMITS.connectionWindow.value,
    maxFrameBytes: H2_LIMITS.maxFrame.value,
    maxHeaderListBytes:
      role === 'client' ? H2_LIMITS.clientHeaderList.value : H2_LIMITS.serverHeaderList.value,
    maxConcurrentStreams: H2_LIMITS.concurrentStreams.value,
    ...overrides,
  }
}

/** The parameters of our SETTINGS frame, `[identifier, value, …]`. */
export function settingsToSend(role: Role, local: LocalSettings): number[] {
  const own =
    role === 'client'
      ? [SETTING.ENABLE_PUSH, 0]
      : [SETTING.MAX_CONCURRENT_STREAMS, local.maxConcurrentStreams]
  return [
    ...own,
    ...[SETTING.INITIAL_WINDOW_SIZE, local.streamWindowBytes],
    ...[SETTING.MAX_FRAME_SIZE, local.maxFrameBytes],
    ...[SETTING.MAX_HEADER_LIST_SIZE, local.maxHeaderListBytes],
  ]
}

/** What the peer allows us; the values before its first SETTINGS are those of the RFC. */
export class PeerSettings {
  headerTableBytes = 4_096
  /** The lowest size in the latest SETTINGS: a later entry of the frame may have raised it. Infinity = none. */
  lowestHeaderTableBytes = Number.POSITIVE_INFINITY
  /** Infinity until the peer names a limit. */
  maxConcurrentStreams = Number.POSITIVE_INFINITY
  initialWindowBytes = DEFAULT_WINDOW_BYTES
  maxFrameBytes = DEFAULT_MAX_FRAME_BYTES
  maxHeaderListBytes = Number.POSITIVE_INFINITY

  /** Applies the payload of a SETTINGS frame, a multiple of six bytes. */
  apply(peerRole: Role, bytes: Buffer, start: number, end: number): Refusal | null {
    this.lowestHeaderTableBytes = Number.POSITIVE_INFINITY
    for (let at = start; at + 6 <= end; at += 6) {
      const identifier = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
      const refusal = this.#set(peerRole, identifier, readUint32(bytes, at + 2))
      if (refusal !== null) return refusal
    }
    return null
  }

  #set(peerRole: Role, identifier: number, value: number): Refusal | null {
    switch (identifier) {
      case SETTING.HEADER_TABLE_SIZE:
        this.headerTableBytes = value
        this.lowestHeaderTableBytes = Math.min(this.lowestHeaderTableBytes, value)
        return null
      case SETTING.ENABLE_PUSH:
        // SPEC RFC9113 §6.5.2: 0 or 1, and a server must not send 1.
        if (value > 1 || (value === 1 && peerRole === 'server')) return refuse('H2_PROTOCOL', 'ENABLE_PUSH')
        return null
      case SETTING.MAX_CONCURRENT_STREAMS:
        this.maxConcurrentStreams = value
        return null
      case SETTING.INITIAL_WINDOW_SIZE:
        if (value > MAX_WINDOW_BYTES) return refuse('H2_FLOW_CONTROL', 'INITIAL_WINDOW_SIZE')
        this.initialWindowBytes = value
        return null
      case SETTING.MAX_FRAME_SIZE:
        if (value < DEFAULT_MAX_FRAME_BYTES || value > LARGEST_MAX_FRAME_BYTES) {
          return refuse('H2_PROTOCOL', 'MAX_FRAME_SIZE')
        }
        this.maxFrameBytes = value
        return null
      case SETTING.MAX_HEADER_LIST_SIZE:
        this.maxHeaderListBytes = value
        return null
      default:
        return null // SPEC RFC9113 §6.5.2: unknown parameters are ignored.
    }
  }
}
