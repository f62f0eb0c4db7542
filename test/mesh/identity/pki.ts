// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import {
  createCertificateRequest,
  createRootCertificate,
  describePublicKey,
  exportPrivateKey,
  generateKeyPair,
  importPrivateKey,
  isSignedBy,
  parseCertificate,
  parseCertificateRequest,
  signRevocationList,
  splitCertificates,
} from '../../../mesh/identity/pki.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { serverCertificate } from '../../support/server-certificate.ts'

const NOW = Date.UTC(2026, 5, 1)
const ID = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const URI = 'spiffe://cluster.local/ns/shop/sa/cart'

t.test('a leaf says what peers check, also in the eyes of OpenSSL', async (t) => {
  const authority = await TestAuthority.create(NOW)
  const { certificatePem, privateKeyPem } = await authority.sign(ID)
  const facts = parseCertificate(certificatePem)
  t.match(facts, { uris: [URI], isCa: false, notBeforeMs: NOW - 120_000, notAfterMs: NOW + 86_400_000 })
  const seen = new X509Certificate(certificatePem)
  const root = new X509Certificate(authority.rootPem)
  t.equal(seen.subjectAltName, `URI:${URI}`)
  t.notOk(seen.ca)
  t.ok(root.ca)
  t.ok(seen.checkIssued(root))
  t.ok(seen.verify(root.publicKey))
  t.ok(seen.checkPrivateKey(createPrivateKey(privateKeyPem)))
  t.same(seen.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  if (!isRefusal(facts)) t.equal(facts.serialNumber, BigInt(`0x${seen.serialNumber}`).toString())
})

t.test('a signature of another root is noticed', async (t) => {
  const authority = await TestAuthority.create(NOW)
  const impostor = await TestAuthority.create(NOW)
  const { certificatePem } = await impostor.sign(ID)
  t.notOk(await isSignedBy(certificatePem, authority.rootPem))
  t.ok(await isSignedBy(certificatePem, impostor.rootPem))
  t.notOk(await isSignedBy('', authority.rootPem))
})

t.test('a request proves that its sender holds the key', async (t) => {
  const pair = await generateKeyPair()
  const pem = await createCertificateRequest(pair, URI)
  t.match(await parseCertificateRequest(pem), { kind: 'certificate-request', uris: [URI] })
  const der = Buffer.from(pem.split('\n').slice(1, -2).join(''), 'base64')
  for (const at of [der.length - 4, Math.floor(der.length / 2), 12]) {
    const forged = Buffer.from(der)
    forged[at] = (forged[at] ?? 0) ^ 1
    const text = `-----BEGIN CERTIFICATE REQUEST-----\n${forged.toString('base64')}\n-----END CERTIFICATE REQUEST-----`
    t.match(await parseCertificateRequest(text), { kind: 'refusal', code: 'CERT_INVALID' }, `byte ${at}`)
  }
})

t.test('nothing that is no certificate makes the parsers throw', async (t) => {
  const wrap = (body: string): string => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`
  for (const text of [
    '',
    'x',
    wrap(''),
    wrap('AAAA'),
    wrap('!!!!'),
    wrap('MIIB'),
    wrap('A'.repeat(400_000)),
  ]) {
    t.match(parseCertificate(text), { kind: 'refusal' }, text.slice(0, 60))
    t.match(await parseCertificateRequest(text), { kind: 'refusal' })
  }
  const { certificatePem } = await (await TestAuthority.create(NOW)).sign(ID)
  const der = Buffer.from(certificatePem.split('\n').slice(1, -2).join(''), 'base64')
  for (let length = 0; length < der.length; length += 7) {
    t.match(
      parseCertificate(wrap(der.subarray(0, length).toString('base64'))),
      { kind: 'refusal' },
      `${length} bytes`,
    )
  }
})

t.test('a private key survives PEM and a damaged one is refused', async (t) => {
  const pem = await exportPrivateKey((await generateKeyPair()).privateKey)
  t.equal(await exportPrivateKey(await importPrivateKey(pem)), pem)
  await t.rejects(importPrivateKey('nothing'), { code: 'CERT_INVALID' })
  await t.rejects(importPrivateKey(pem.replace(/\n.{20}/, '\nAAAA')), { code: 'CERT_INVALID' })
})

t.test('keys of every spelling are read, and their kind is told', async (t) => {
  const kinds = [
    ['P-256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['RSA-2048', generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ] as const
  for (const [kind, { privateKey, publicKey }] of kinds) {
    t.equal(describePublicKey(publicKey.export({ type: 'spki', format: 'der' })), kind)
    for (const type of ['pkcs8', kind.startsWith('RSA') ? 'pkcs1' : 'sec1'] as const) {
      // as: node's types know which keys have which spelling, not that this one has
      const pem = privateKey.export({ type: type as 'pkcs8', format: 'pem' }).toString()
      const read = createPrivateKey(await exportPrivateKey(await importPrivateKey(pem)))
      t.ok(createPublicKey(read).equals(publicKey), `${kind} as ${type}`)
    }
  }
  const other = generateKeyPairSync('ed25519')
  t.equal(describePublicKey(other.publicKey.export({ type: 'spki', format: 'der' })), undefined)
  const otherPem = other.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  await t.rejects(importPrivateKey(otherPem), { code: 'CERT_INVALID' })
  for (const garbage of ['', '30', '3000', 'ff'.repeat(99)])
    t.equal(describePublicKey(Buffer.from(garbage, 'hex')), undefined)
})

t.test('a server is named by host names and addresses', async (t) => {
  const { certificatePem, rootPem } = await serverCertificate()
  const leaf = new X509Certificate(certificatePem)
  t.equal(leaf.subjectAltName, 'DNS:localhost, IP Address:127.0.0.1')
  t.ok(leaf.verify(new X509Certificate(rootPem).publicKey))
})

t.test('a revocation list says what it was given', async (t) => {
  const pair = await generateKeyPair()
  const certificatePem = await createRootCertificate(pair, 'cluster.local', NOW - 1000, NOW + 1000)
  const serials = ['0', '127', '128', '255', '340282366920938463463374607431768211455']
  const list = await signRevocationList(
    { certificatePem, privateKey: pair.privateKey },
    {
      number: 200,
      thisUpdateMs: NOW,
      nextUpdateMs: NOW + 5000,
      revoked: serials.map((serialNumber) => ({ serialNumber, atMs: NOW })),
    },
  )
  const text = execFileSync('openssl', ['crl', '-noout', '-text'], { input: list }).toString()
  const read = [...text.matchAll(/Serial Number: ([0-9A-F]+)/g)].map(([, hex]) =>
    BigInt(`0x${hex}`).toString(),
  )
  t.same(read, serials)
  t.match(text, /X509v3 CRL Number: \s*(200|0xC8)/)
  await t.rejects(
    signRevocationList(
      { certificatePem: 'none', privateKey: pair.privateKey },
      { number: 1, thisUpdateMs: 0, nextUpdateMs: 0, revoked: [] },
    ),
    { code: 'CERT_INVALID' },
  )
})

t.test('a bundle is split into its certificates', async (t) => {
  const roots = [(await TestAuthority.create(NOW)).rootPem, (await TestAuthority.create(NOW)).rootPem]
  t.same(splitCertificates(`# comment\n${roots.join('\n')}trailing`), roots)
  t.same(splitCertificates('none'), [])
})

t.test('an empty subject is an empty sequence, in leaves and in requests', async (t) => {
  // BoringSSL, and Envoy with it, refuses a name that holds an empty set (RFC 5280 §4.1.2.4: SIZE 1..MAX).
  const derHex = (pem: string): string =>
    Buffer.from(pem.replace(/-----[^-]*-----/g, ''), 'base64').toString('hex')
  const authority = await TestAuthority.create(NOW)
  const { certificatePem } = await authority.sign(ID)
  t.match(derHex(certificatePem), /170d[0-9a-f]{26}30003059/, 'after the validity: 30 00, then the key')
  const request = await createCertificateRequest(await generateKeyPair(), URI)
  t.match(derHex(request), /02010030003059/, 'after the version: 30 00, then the key')
})
