// SPDX-License-Identifier: Apache-2.0
// A client’s session as it carries it itself: which endpoint, since when, last used when. Nothing is kept here, so any
// replica of a waypoint honours it. Who forges one chooses among the endpoints that it may reach anyway. Pure.
// SPEC GATEWAY-API SessionPersistence.
import { type HeaderList, headerValue } from '../../mesh/http/header-list.ts'
import type { SessionPersistence } from '../../proto/generated/sidestep/v1/routes_pb.js'
import { cookieValue } from './hash-key.ts'

/** A session is read up to this length: the longest uid of a workload and its times. */
export const MAX_SESSION_BYTES = 1_024

/** What a rule says about sessions. */
export interface SessionSettings {
  readonly kind: 'cookie' | 'header'
  readonly name: string
  /** Infinity: none. */
  readonly absoluteSeconds: number
  readonly idleSeconds: number
  /** The cookie outlives the client’s session. */
  readonly isPermanent: boolean
}

/** A session that is in force. Times are seconds since 1970. */
export interface Session {
  readonly endpointKey: string
  readonly createdSeconds: number
  readonly usedSeconds: number
}

/** The time of use is written anew after this part of the idle timeout. */
const REFRESH_SHARE = 0.1
const FORM = /^(\d{1,11})\.(\d{1,11})\.(.+)$/s

/** null: the rule asks for none. */
export function sessionSettings(session: SessionPersistence | undefined): SessionSettings | null {
  if (session === undefined || session.kind.case === undefined || session.kind.value === '') return null
  const { kind, absoluteTimeout, idleTimeout, isPermanent } = session
  const name = kind.case === 'header' ? kind.value.toLowerCase() : kind.value
  const absoluteSeconds = seconds(absoluteTimeout)
  return { kind: kind.case, name, absoluteSeconds, idleSeconds: seconds(idleTimeout), isPermanent }
}

/** The session that a request belongs to; null: none, none any more, or nothing that we have written. */
export function readSession(
  settings: SessionSettings,
  headers: HeaderList,
  nowSeconds: number,
): Session | null {
  const { kind, name, absoluteSeconds, idleSeconds } = settings
  const text = kind === 'cookie' ? cookieValue(headers, name) : headerValue(headers, name)
  if (text === undefined || text.length > MAX_SESSION_BYTES) return null
  const [, created, used, endpointKey] = FORM.exec(Buffer.from(text, 'base64url').toString('utf8')) ?? []
  if (endpointKey === undefined) return null
  const session = { endpointKey, createdSeconds: Number(created), usedSeconds: Number(used) }
  const isOver =
    nowSeconds - session.createdSeconds >= absoluteSeconds || nowSeconds - session.usedSeconds >= idleSeconds
  return isOver ? null : session
}

/** The field that the answer of an endpoint must have; null: what the client has is still right. */
export function sessionField(
  settings: SessionSettings,
  before: Session | null,
  endpointKey: string,
  nowSeconds: number,
): readonly [name: string, value: string] | null {
  const isSame = before?.endpointKey === endpointKey
  const { kind, name, absoluteSeconds, idleSeconds, isPermanent } = settings
  if (isSame && nowSeconds - before.usedSeconds < idleSeconds * REFRESH_SHARE) return null
  // Another endpoint is another session.
  const createdSeconds = isSame ? before.createdSeconds : nowSeconds
  const text = Buffer.from(`${createdSeconds}.${nowSeconds}.${endpointKey}`).toString('base64url')
  if (kind === 'header') return [name, text]
  const leftSeconds = Math.ceil(createdSeconds + absoluteSeconds - nowSeconds)
  const age = isPermanent && Number.isFinite(leftSeconds) ? `; Max-Age=${leftSeconds}` : ''
  return ['set-cookie', `${name}=${text}${age}; Path=/; HttpOnly`]
}

function seconds(duration: SessionPersistence['absoluteTimeout']): number {
  const value = duration === undefined ? 0 : Number(duration.seconds) + duration.nanos / 1e9
  return value > 0 ? value : Number.POSITIVE_INFINITY
}
