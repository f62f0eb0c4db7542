// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { RootAuthority } from '../../../controller/ca/root-authority.ts'
import { decideSigning, MAX_CSR_BYTES } from '../../../controller/ca/sign-request.ts'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { MAX_TTL_SECONDS } from '../../../mesh/identity/lifetimes.ts'
import { parseCertificate } from '../../../mesh/identity/pki.ts'
import { CART, FRONT, memoryKeyStore, requestFor, TRUST_DOMAIN } from '../../support/ca.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const clock = new ManualClock()
const nowMs = clock.nowMs
const good = await requestFor(CART)
const request = {
  authorisedIdentity: CART,
  trustDomain: TRUST_DOMAIN,
  csrPem: good.csrPem,
  ttlSeconds: 3600,
  nowMs,
}

/** A request as openssl makes it. */
function opensslRequest(
  directory: string,
  key: string,
  subject = '/',
  extension = `subjectAltName=URI:${CART}`,
) {
  const run = (args: string[]): void => void execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' })
  run(['genpkey', ...key.split(' '), '-out', 'key.pem'])
  run(['req', '-new', '-key', 'key.pem', '-subj', subject, '-addext', extension, '-out', 'csr.pem'])
  return execFileSync('cat', [join(directory, 'csr.pem')]).toString()
}

t.test('a good request becomes a plan with the identity that was authorised', async (t) => {
  t.same(await decideSigning(request), {
    identity: CART,
    publicKeyInfo: good.publicKeyInfo,
    csrPem: good.csrPem,
    notBeforeMs: nowMs - 120_000,
    notAfterMs: nowMs + 3_600_000,
  })
})

t.test('lifetimes: none is the default, too long is an error', async (t) => {
  const lifetimeOf = async (ttlSeconds: number, maxTtlSeconds?: number): Promise<number | string> => {
    const limits = maxTtlSeconds === undefined ? {} : { maxTtlSeconds }
    const plan = await decideSigning({ ...request, ttlSeconds, ...limits })
    return isRefusal(plan) ? plan.code : (plan.notAfterMs - nowMs) / 1000
  }
  for (const none of [0, -1, Number.NaN, Number.NEGATIVE_INFINITY]) t.equal(await lifetimeOf(none), 86_400)
  t.equal(await lifetimeOf(0.2), 1)
  t.equal(await lifetimeOf(MAX_TTL_SECONDS), MAX_TTL_SECONDS)
  for (const much of [MAX_TTL_SECONDS + 1, Number.MAX_VALUE, Number.POSITIVE_INFINITY])
    t.equal(await lifetimeOf(much), 'CERT_LIFETIME')
  t.equal(await lifetimeOf(0, 600), 600, 'the default obeys a shorter limit')
  t.equal(await lifetimeOf(601, 600), 'CERT_LIFETIME')
})

t.test('a request that names somebody else is refused, one that names nobody is not', async (t) => {
  const { csrPem } = await requestFor(FRONT)
  t.match(await decideSigning({ ...request, csrPem }), { code: 'IDENTITY_REFUSED' })
  t.match(await decideSigning({ ...request, csrPem, authorisedIdentity: FRONT }), { identity: FRONT })
  const two = `subjectAltName=URI:${CART},URI:${FRONT}`
  const ec = '-algorithm EC -pkeyopt ec_paramgen_curve:P-256'
  const both = opensslRequest(t.testdir(), ec, '/', two)
  t.match(await decideSigning({ ...request, csrPem: both }), { code: 'IDENTITY_REFUSED' })
  const none = opensslRequest(t.testdir(), ec, '/CN=admin', 'basicConstraints=CA:TRUE')
  const plan = await decideSigning({ ...request, csrPem: none })
  t.match(plan, { identity: CART }, 'and that it wants to be a CA is not heard')
})

t.test('only keys that are neither weak nor a burden', async (t) => {
  const ofKey = async (key: string): Promise<string> => {
    const plan = await decideSigning({ ...request, csrPem: opensslRequest(t.testdir(), key) })
    return isRefusal(plan) ? plan.code : 'signed'
  }
  const rsa = (bits: number): string => `-algorithm RSA -pkeyopt rsa_keygen_bits:${bits}`
  t.equal(await ofKey('-algorithm EC -pkeyopt ec_paramgen_curve:P-384'), 'signed')
  t.equal(await ofKey(rsa(2048)), 'signed')
  t.equal(await ofKey(rsa(1024)), 'CSR_INVALID')
  t.equal(await ofKey(rsa(2040)), 'CSR_INVALID')
  t.equal(await ofKey('-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1'), 'CSR_INVALID')
  t.equal(await ofKey('-algorithm EC -pkeyopt ec_paramgen_curve:P-224'), 'CSR_INVALID')
  t.equal(await ofKey('-algorithm ED25519'), 'CSR_INVALID')
})

t.test('no proof, no certificate', async (t) => {
  const der = Buffer.from(good.csrPem.replace(/-----.*-----|\s/g, ''), 'base64')
  const pem = (bytes: Buffer): string =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
  t.match(await decideSigning({ ...request, csrPem: pem(der) }), { identity: CART }, 'unchanged')
  let signed = 0
  // What is signed: behind the 4 bytes of the outer header, with a header of 3 of its own.
  const signedLength = 3 + der.readUInt8(6)
  t.ok(signedLength > 150)
  for (let at = 4; at < 4 + signedLength; at++) {
    const changed = Buffer.from(der)
    changed[at] = (changed[at] ?? 0) ^ 0x04
    if (!isRefusal(await decideSigning({ ...request, csrPem: pem(changed) }))) signed++
  }
  t.equal(signed, 0, 'no flipped bit goes unnoticed')
  // Signed by one key, for another: the attack a proof is made against.
  const other = Buffer.from((await requestFor(CART)).publicKeyInfo)
  const swapped = Buffer.from(der)
  const at = swapped.indexOf(Buffer.from(good.publicKeyInfo))
  t.ok(at > 0)
  other.copy(swapped, at)
  t.match(await decideSigning({ ...request, csrPem: pem(swapped) }), { code: 'CSR_INVALID' })
})

t.test('size and shape are bounded', async (t) => {
  const codeOf = async (csrPem: string): Promise<string> => {
    const plan = await decideSigning({ ...request, csrPem })
    return isRefusal(plan) ? plan.code : 'signed'
  }
  t.equal(await codeOf(good.csrPem.padEnd(MAX_CSR_BYTES, '\n')), 'signed')
  t.equal(await codeOf(good.csrPem.padEnd(MAX_CSR_BYTES + 1, '\n')), 'CSR_INVALID')
  t.equal(await codeOf(`${good.csrPem}${good.csrPem}`), 'CSR_INVALID', 'two requests')
  t.equal(await codeOf(''), 'CSR_INVALID')
  const nested = Buffer.alloc(4_000, Buffer.of(0x30, 0x80))
  t.equal(
    await codeOf(
      `-----BEGIN CERTIFICATE REQUEST-----\n${nested.toString('base64')}\n-----END CERTIFICATE REQUEST-----`,
    ),
    'CSR_INVALID',
    'deep',
  )
})

t.test('an identity that is none, or of elsewhere, is not signed even when it was authorised', async (t) => {
  for (const authorisedIdentity of [
    '',
    'spiffe://other/ns/a/sa/b',
    'spiffe://cluster.local/ns/a',
    `${CART}/x`,
  ])
    t.match(await decideSigning({ ...request, authorisedIdentity }), { code: 'IDENTITY_REFUSED' })
})

t.test('whatever is sent, a certificate is for the authorised identity and the proven key', async (t) => {
  const authority = await RootAuthority.open({ store: memoryKeyStore(), trustDomain: TRUST_DOMAIN, clock })
  const requests = await Promise.all(
    [CART, FRONT, 'spiffe://other/ns/shop/sa/cart', 'http://x'].map(requestFor),
  )
  const segment = fc.stringMatching(/^[a-zA-Z0-9./_%-]{0,12}$/)
  const identity = fc.oneof(
    fc.constantFrom(CART, FRONT, 'spiffe://other/ns/shop/sa/cart', ''),
    fc.tuple(segment, segment, segment).map(([td, ns, sa]) => `spiffe://${td}/ns/${ns}/sa/${sa}`),
    fc.string(),
  )
  const csr = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...requests.map(({ csrPem }) => csrPem)) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...requests), fc.nat(1_000), fc.string({ maxLength: 3 }))
        .map(([{ csrPem }, at, text]) => csrPem.slice(0, at) + text + csrPem.slice(at + text.length)),
    },
    { weight: 1, arbitrary: fc.string() },
  )
  const ttl = fc.oneof(fc.double(), fc.integer())
  let signed = 0
  await fc.assert(
    fc.asyncProperty(identity, csr, ttl, async (authorisedIdentity, csrPem, ttlSeconds) => {
      const plan = await decideSigning({ ...request, authorisedIdentity, csrPem, ttlSeconds })
      if (isRefusal(plan)) return
      signed++
      const leaf = parseCertificate((await authority.sign(plan))[0] ?? '')
      if (isRefusal(leaf)) throw new Error(leaf.detail)
      const asked = requests.find(
        ({ publicKeyInfo }) => Buffer.compare(publicKeyInfo, leaf.publicKeyInfo) === 0,
      )
      const isRight =
        leaf.uris.length === 1 &&
        leaf.uris[0] === authorisedIdentity &&
        authorisedIdentity.startsWith(`spiffe://${TRUST_DOMAIN}/`) &&
        asked !== undefined &&
        !leaf.isCa &&
        leaf.notAfterMs - nowMs <= MAX_TTL_SECONDS * 1000
      if (!isRight) throw new Error(`signed ${leaf.uris} for ${authorisedIdentity}`)
    }),
    { numRuns: 1_500 },
  )
  t.ok(signed > 3, `${signed} were signed: not all of them were garbage`)
})
