// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { exportSPKI, generateKeyPair, importJWK, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose'
import t from 'tap'
import { TokenRuleSchema } from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { KeySets } from '../../../waypoint/tokens/key-sets.ts'
import { KEY_UNKNOWN_MS, MAX_TOKEN_CHARS, TOKEN_KEPT_MS } from '../../../waypoint/tokens/limits.ts'
import { TokenVerifier } from '../../../waypoint/tokens/token-verifier.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { SigningKey } from '../../support/token-issuer.ts'

type Init = Exclude<MessageInitShape<typeof TokenRuleSchema>, { readonly $typeName: string }>
type Keys = NonNullable<Init['keys']>
const key = await SigningKey.create('k1')
const other = await SigningKey.create('k2')
const inline = (...keys: readonly SigningKey[]): Keys => ({
  case: 'jwks',
  value: JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }),
})
const ruleOf = (init: Init = {}) =>
  create(TokenRuleSchema, { origin: 'shop/tokens', issuer: 'i', keys: inline(key), ...init })

function setUp(keys: SigningKey[] = []) {
  const clock = new ManualClock(Date.now())
  const sets = new KeySets(async () => ({ keys: keys.map(({ jwk }) => jwk) }), clock)
  const verifier = new TokenVerifier(sets, clock)
  const codeOf = async (token: string, ...rules: ReturnType<typeof ruleOf>[]): Promise<string> =>
    (await verifier.verify(token, rules)).refusal?.code ?? 'OK'
  return { clock, verifier, codeOf }
}

t.test('a token of its issuer is believed, with its claims and until its end', async (t) => {
  const { verifier } = setUp()
  const verdict = await verifier.verify(await key.sign({ iss: 'i', sub: 'ann', role: 'x' }, 100), [
    ruleOf({ issuer: 'another' }),
    ruleOf(),
  ])
  t.match(verdict, { refusal: null, rule: 1, claims: { sub: 'ann', role: 'x' } })
  t.ok(verdict.keptMs > 155_000 && verdict.keptMs <= 160_000, `${verdict.keptMs} ms: its end and the skew`)
  const long = await verifier.verify(await key.sign({ iss: 'i' }, 86_400), [ruleOf()])
  t.equal(long.keptMs, TOKEN_KEPT_MS)
})

t.test('what is not believed is refused', async (t) => {
  const { codeOf } = setUp()
  const good: JWTPayload = { iss: 'i', sub: 'ann', aud: ['shop', 'x'] }
  const token = await key.sign(good)
  const [head = '', body = ''] = token.split('.')
  const rule = ruleOf({ audiences: ['shop', 'web'] })
  t.equal(await codeOf(token, rule), 'OK')
  const table: Readonly<Record<string, string>> = {
    'no token': 'hello',
    empty: '',
    'two parts': `${head}.${body}`,
    'no signature': `${head}.${body}.`,
    'too long': 'x'.repeat(MAX_TOKEN_CHARS + 1),
    'its issuer is unknown': await key.sign({ ...good, iss: 'j' }),
    'no issuer': await key.sign({ sub: 'ann' }),
    'another audience': await key.sign({ ...good, aud: 'y' }),
    'no audience': await key.sign({ iss: 'i' }),
    'its end is past': await key.sign(good, -61),
    'its begin is to come': await key.sign({ ...good, nbf: Math.floor(Date.now() / 1000) + 65 }),
    'another key': await other.sign(good),
    'no algorithm': new UnsecuredJWT(good).encode(),
    'a critical field that nobody knows': await new SignJWT(good)
      .setProtectedHeader({ alg: 'ES256', kid: 'k1', crit: ['b64'], b64: true })
      .sign((await generateKeyPair('ES256')).privateKey),
  }
  for (const [name, text] of Object.entries(table)) t.equal(await codeOf(text, rule), 'JWT_INVALID', name)
  t.equal(await codeOf(await key.sign(good, -55), rule), 'OK', 'clocks may differ')
})

t.test('a public key is no shared secret, and a shared secret is no proof', async (t) => {
  const { codeOf } = setUp()
  const spki = await exportSPKI(
    (await importJWK(key.jwk, 'ES256', { extractable: true })) as Parameters<typeof exportSPKI>[0],
  ) // as: an asymmetric key is one
  const claims = { iss: 'i', exp: Math.floor(Date.now() / 1000) + 60 }
  for (const secret of [spki, JSON.stringify(key.jwk)]) {
    const text = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
      .sign(new TextEncoder().encode(secret))
    t.equal(await codeOf(text, ruleOf()), 'JWT_INVALID')
  }
  const secret = new TextEncoder().encode('s'.repeat(32))
  const octets = { kty: 'oct', k: Buffer.from(secret).toString('base64url'), kid: 'k1', alg: 'HS256' }
  const text = await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(secret)
  const rule = ruleOf({ keys: { case: 'jwks', value: JSON.stringify({ keys: [octets] }) } })
  t.equal(await codeOf(text, rule), 'JWT_INVALID')
})

t.test('a token that names no key is tried with each', async (t) => {
  const { codeOf } = setUp()
  const [one, two, three] = await Promise.all(['', '', ''].map((id) => SigningKey.create(id)))
  const rule = ruleOf({ keys: inline(one ?? key, two ?? key) })
  t.equal(await codeOf((await two?.sign({ iss: 'i' })) ?? '', rule), 'OK')
  t.equal(await codeOf((await three?.sign({ iss: 'i' })) ?? '', rule), 'JWT_INVALID')
})

t.test('keys that cannot be had or read are another reason', async (t) => {
  const { codeOf } = setUp()
  const token = await key.sign({ iss: 'i' })
  const table: readonly Keys[] = [
    { case: 'broken', value: 'it cannot be read' },
    { case: 'jwks', value: '{' },
    { case: 'jwks', value: '{"keys": [7]}' },
    { case: 'jwks', value: JSON.stringify({ keys: [{ ...key.jwk, x: 'AA' }] }) },
  ]
  for (const keys of table)
    t.equal(await codeOf(token, ruleOf({ keys })), 'JWT_UNVERIFIABLE', JSON.stringify(keys))
  t.equal(await codeOf(token, ruleOf({ keys: { case: 'jwks', value: '{"keys": []}' } })), 'JWT_INVALID')
})

t.test('a key that a fetched set lacks is asked for', async (t) => {
  const keys = [key]
  const { clock, codeOf } = setUp(keys)
  const rule = ruleOf({ keys: { case: 'jwksUri', value: 'http://keys/' } })
  t.equal(await codeOf(await key.sign({ iss: 'i' }), rule), 'OK')
  keys[0] = other
  const token = await other.sign({ iss: 'i' })
  t.equal(await codeOf(token, rule), 'JWT_INVALID', 'not sooner than the limit')
  clock.advance(KEY_UNKNOWN_MS)
  t.equal(await codeOf(token, rule), 'OK')
})
