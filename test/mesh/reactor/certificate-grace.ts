// SPDX-License-Identifier: Apache-2.0
// Certificates that have ended: the decision, and real handshakes in either role.
import { createPublicKey } from 'node:crypto'
import t from 'tap'
import { fingerprintOf } from '../../../mesh/identity/revocation-list.ts'
import { RevokedSet, shareRevoked } from '../../../mesh/identity/revoked-set.ts'
import { type CertificateGrace, decideGrace } from '../../../mesh/reactor/certificate-grace.ts'
import { ERR_get_error } from '../../../mesh/reactor/ffi/openssl.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import {
  TestAuthority,
  type TestCertificate,
  type TestCertificateOptions,
} from '../../support/certificates.ts'
import { type HandshakeOutcome, handshake, runUntil, type TlsEnd } from '../../support/reactor-pairs.ts'

const DAY_SECONDS = 86_400
const DAY_MS = DAY_SECONDS * 1000

t.test('who is forgiven: a known key, a leaf, within the time', async (t) => {
  const good = { depth: 0, secondsSinceEnd: 1, graceSeconds: DAY_SECONDS, isKnown: true }
  for (const [change, expected] of [
    [{}, null],
    [{ secondsSinceEnd: DAY_SECONDS }, null],
    [{ secondsSinceEnd: DAY_SECONDS + 1 }, 'longer ago than is forgiven'],
    [{ secondsSinceEnd: Number.POSITIVE_INFINITY }, 'longer ago than is forgiven'],
    [{ isKnown: false }, 'its key was never here with a valid one'],
    [{ depth: 1 }, 'it is of a CA'],
  ] as const)
    t.equal(decideGrace({ ...good, ...change }), expected, JSON.stringify(change))
})

const authority = await TestAuthority.create()
const rootsPem = [authority.rootPem]
const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const FRONT = { ...CART, serviceAccount: 'front' }
const own = { ...(await authority.sign(FRONT)), rootsPem }
const valid = { ...(await authority.sign(CART)), rootsPem }

/** Another certificate for the key of one that is there. */
async function again(
  { privateKeyPem }: TestCertificate,
  options: TestCertificateOptions,
  identity = CART,
  signer = authority,
): Promise<TlsEnd> {
  const publicKeyInfo = createPublicKey(privateKeyPem).export({ format: 'der', type: 'spki' })
  const { certificatePem } = await signer.sign(identity, { ...options, publicKeyInfo })
  return { certificatePem, privateKeyPem, rootsPem }
}
const ended = (daysAgo: number): TestCertificateOptions => {
  const notAfterMs = Date.now() - daysAgo * DAY_MS - 60_000
  return { notBeforeMs: notAfterMs - DAY_MS, notAfterMs }
}

class Memory implements CertificateGrace {
  readonly graceSeconds = DAY_SECONDS
  readonly known = new Set<string>()
  readonly forgiven: (readonly string[])[] = []
  isKnown(fingerprint: Buffer): boolean {
    return this.known.has(fingerprint.toString('hex'))
  }
  onPeer(fingerprint: Buffer, isInGrace: boolean, uris: readonly string[]): void {
    if (isInGrace) this.forgiven.push(uris)
    else this.known.add(fingerprint.toString('hex'))
  }
}

/** What the one with a memory makes of the other. */
function meet(role: 'client' | 'server', judge: TlsEnd, peer: TlsEnd): HandshakeOutcome {
  const reactor = new Reactor()
  const pair = role === 'client' ? handshake(reactor, judge, peer) : handshake(reactor, peer, judge)
  const outcome = pair[role]
  runUntil(reactor, () => outcome.failure !== null || outcome.socket !== null)
  t.equal(Number(ERR_get_error()), 0)
  return outcome
}

for (const role of ['client', 'server'] as const)
  t.test(`a peer that is known may come on with what has ended: ${role}`, async (t) => {
    const grace = new Memory()
    const judge = { ...own, grace }
    const lately = await again(valid, ended(0))
    const stranger = meet(role, judge, lately)
    t.match(stranger.failure, { code: 'CERT_EXPIRED', detail: /its key was never here/ })
    t.equal(grace.known.size, 0, 'whoever was refused is not remembered')

    t.ok(meet(role, judge, valid).socket)
    t.equal(grace.known.size, 1)
    t.same(grace.forgiven, [])
    const { socket, peer } = meet(role, judge, lately)
    t.ok(socket)
    t.same(peer?.uris, ['spiffe://cluster.local/ns/shop/sa/cart'])
    t.same(grace.forgiven, [['spiffe://cluster.local/ns/shop/sa/cart']])
    t.equal(grace.known.size, 1)

    const without = meet(role, own, lately)
    t.match(without.failure, { code: 'CERT_EXPIRED', detail: 'certificate has expired' })
    t.same(grace.forgiven.length, 1)
  })

for (const role of ['client', 'server'] as const)
  t.test(`nothing but the end is forgiven: ${role}`, async (t) => {
    const grace = new Memory()
    const judge = { ...own, grace }
    t.ok(meet(role, judge, valid).socket)
    const lately = await again(valid, ended(0))

    t.match(meet(role, judge, await again(valid, ended(1))).failure, {
      detail: /longer ago than is forgiven/,
    })
    const other = await again(await authority.sign(CART), ended(0))
    t.match(meet(role, judge, other).failure, { code: 'CERT_EXPIRED', detail: /never here/ }, 'a new key')
    const elsewhere = await again(valid, ended(0), FRONT)
    t.match(meet(role, judge, elsewhere).failure, { detail: /never here/ }, 'the key for another identity')
    const revoked = new RevokedSet(shareRevoked([fingerprintOf(lately.certificatePem)]))
    t.match(meet(role, { ...judge, revoked }, lately).failure, { code: 'CERT_REVOKED' })
    const refusing: TlsEnd = {
      ...judge,
      peerCheck: () => ({ kind: 'refusal', code: 'POLICY_DENY', detail: 'no' }),
    }
    t.equal(meet(role, refusing, lately).failure?.code, 'POLICY_DENY')
    const future = await again(valid, {
      notBeforeMs: Date.now() + DAY_MS,
      notAfterMs: Date.now() + 2 * DAY_MS,
    })
    t.equal(meet(role, judge, future).failure?.code, 'CERT_NOT_YET_VALID')
    const ca = await again(valid, { ...ended(0), isCa: true })
    t.equal(meet(role, judge, ca).failure?.code, 'CERT_INVALID')
    const forger = await TestAuthority.create()
    t.equal(meet(role, judge, await again(valid, ended(0), CART, forger)).failure?.code, 'CERT_INVALID')
    t.same(grace.forgiven, [])
  })

t.test('a CA that has ended takes everybody with it', async (t) => {
  const old = await TestAuthority.create(Date.now() - 1000.5 * 3_600_000)
  const signed = await old.sign(CART, { notAfterMs: Date.now() + DAY_MS })
  const peer = { ...signed, rootsPem }
  const grace = new Memory()
  grace.isKnown = () => true
  const { failure } = meet('server', { ...own, rootsPem: [old.rootPem], grace }, peer)
  t.match(failure, { code: 'CERT_EXPIRED', detail: /it is of a CA/ })
})
