// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { SessionPersistenceSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import {
  MAX_SESSION_BYTES,
  readSession,
  type SessionSettings,
  sessionField,
  sessionSettings,
} from '../../../waypoint/upstream/session-persistence.ts'

const NOW = 1_700_000_000
const KEY = 'cluster0//Pod/shop/cart-7d4b'
const COOKIE: SessionSettings = {
  ...{ kind: 'cookie', name: 'sid', absoluteSeconds: 3_600, idleSeconds: 600, isPermanent: false },
}
const HEADER: SessionSettings = { ...COOKIE, kind: 'header', name: 'x-session' }

/** What the client sends after it got a field. */
function sent(settings: SessionSettings, value: string): string[] {
  return settings.kind === 'header' ? [settings.name, value] : ['cookie', `a=b; ${value.split(';')[0]}`]
}

t.test('a session comes back as it was given, by cookie and by header', async (t) => {
  for (const settings of [COOKIE, HEADER]) {
    const [name, value] = sessionField(settings, null, KEY, NOW) ?? ['', '']
    t.equal(name, settings.kind === 'header' ? 'x-session' : 'set-cookie')
    const session = readSession(settings, sent(settings, value), NOW + 5)
    t.same(session, { endpointKey: KEY, createdSeconds: NOW, usedSeconds: NOW })
    t.equal(sessionField(settings, session, KEY, NOW + 5), null, 'nothing has to be said')
  }
  t.match(sessionField(COOKIE, null, KEY, NOW)?.[1], /^sid=[\w-]+; Path=\/; HttpOnly$/)
  t.match(sessionField({ ...COOKIE, isPermanent: true }, null, KEY, NOW)?.[1], /; Max-Age=3600; /)
  const endless = { ...COOKIE, isPermanent: true, absoluteSeconds: Number.POSITIVE_INFINITY }
  t.notMatch(sessionField(endless, null, KEY, NOW)?.[1], /Max-Age/)
})

t.test('it ends after its time, and when nobody uses it', async (t) => {
  const [, value] = sessionField(COOKIE, null, KEY, NOW) ?? ['', '']
  t.not(readSession(COOKIE, sent(COOKIE, value), NOW + 599), null)
  t.equal(readSession(COOKIE, sent(COOKIE, value), NOW + 600), null)
  let session = readSession(COOKIE, sent(COOKIE, value), NOW)
  for (let at = NOW; at < NOW + 3_600; at += 100) {
    const [, next] = sessionField(COOKIE, session, KEY, at) ?? ['', '']
    if (next !== '') session = readSession(COOKIE, sent(COOKIE, next), at)
    t.equal(session?.createdSeconds, NOW, 'use does not make it younger')
  }
  t.equal(session?.usedSeconds, NOW + 3_500)
  const [, last] = sessionField(COOKIE, session, KEY, NOW + 3_599) ?? ['', '']
  t.equal(readSession(COOKIE, sent(COOKIE, last), NOW + 3_600), null)
})

t.test('another endpoint is another session', async (t) => {
  const [, value] = sessionField(COOKIE, null, KEY, NOW) ?? ['', '']
  const session = readSession(COOKIE, sent(COOKIE, value), NOW + 100)
  const [, moved] = sessionField(COOKIE, session, 'other', NOW + 100) ?? ['', '']
  t.same(readSession(COOKIE, sent(COOKIE, moved), NOW + 100), {
    ...{ endpointKey: 'other', createdSeconds: NOW + 100, usedSeconds: NOW + 100 },
  })
})

t.test('what we have not written is no session', async (t) => {
  const encoded = (text: string) => Buffer.from(text).toString('base64url')
  const bad = [
    '',
    'x',
    '%',
    encoded('1.2'),
    encoded('1.2.'),
    encoded('a.b.c'),
    encoded('-1.2.c'),
    encoded('1.2.c').repeat(400),
  ]
  for (const text of bad) t.equal(readSession(HEADER, ['x-session', text], 5), null, text.slice(0, 20))
  t.equal(readSession(HEADER, [], 5), null)
  t.equal(
    readSession({ ...HEADER, idleSeconds: 1e15, absoluteSeconds: 1e15 }, ['x-session', encoded('1.2.c')], 5)
      ?.endpointKey,
    'c',
  )
  const long = encoded(`1.2.${'k'.repeat(MAX_SESSION_BYTES)}`)
  t.equal(readSession(HEADER, ['x-session', long], 5), null)
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), (text) => {
      readSession(HEADER, ['x-session', text], NOW)
      return true
    }),
  )
})

t.test('what a rule says is read', async (t) => {
  t.equal(sessionSettings(undefined), null)
  t.equal(sessionSettings(create(SessionPersistenceSchema, {})), null)
  const read = sessionSettings(
    create(SessionPersistenceSchema, {
      kind: { case: 'header', value: 'X-Session' },
      absoluteTimeout: { seconds: 3600n },
      isPermanent: true,
    }),
  )
  t.same(read, {
    ...{ kind: 'header', name: 'x-session', absoluteSeconds: 3_600, isPermanent: true },
    idleSeconds: Number.POSITIVE_INFINITY,
  })
  const cookie = create(SessionPersistenceSchema, {
    kind: { case: 'cookie', value: 'Sid' },
    idleTimeout: { nanos: 5e8 },
  })
  t.same([sessionSettings(cookie)?.name, sessionSettings(cookie)?.idleSeconds], ['Sid', 0.5])
})
