// SPDX-License-Identifier: Apache-2.0
// Files as the openssl program writes them: RSA and EC, PKCS#1, SEC 1 and PKCS#8.
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openCacerts } from '../../../controller/ca/cacerts.ts'
import type { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { assembleCertificate } from '../../../mesh/identity/certificate.ts'
import { CART, planFor } from '../../support/ca.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const DAY_MS = 86_400_000
type Key = 'rsa' | 'rsa-pkcs1' | 'ec' | 'ec-sec1' | 'p384'
const openssl = (directory: string, command: string): void =>
  void execFileSync('openssl', command.split(' '), { cwd: directory, stdio: 'pipe' })

/** A root, an intermediate under it and the four files, as Istio's documentation makes them. */
function makeCacerts(directory: string, key: Key, days = 100): string {
  const make: Record<Key, string> = {
    rsa: 'genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out ca-key.pem',
    'rsa-pkcs1': 'genrsa -traditional -out ca-key.pem 2048',
    ec: 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca-key.pem',
    'ec-sec1': 'ecparam -name prime256v1 -genkey -noout -out ca-key.pem',
    p384: 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ca-key.pem',
  }
  openssl(directory, make[key])
  openssl(directory, 'genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out root-key.pem')
  openssl(
    directory,
    `req -x509 -key root-key.pem -subj /O=Istio/CN=Root -days ${days} -addext keyUsage=critical,keyCertSign,cRLSign -out root-cert.pem`,
  )
  openssl(directory, 'req -new -key ca-key.pem -subj /O=Istio/CN=Intermediate -out ca.csr')
  writeFileSync(
    join(directory, 'ext'),
    // A key id that is not the hash of the key: leaves must name the issuer by what it calls itself.
    'basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=0102030405060708\n',
  )
  openssl(
    directory,
    `x509 -req -in ca.csr -CA root-cert.pem -CAkey root-key.pem -days ${days} -extfile ext -out ca-cert.pem`,
  )
  const [ca, root] = ['ca-cert.pem', 'root-cert.pem'].map((file) =>
    readFileSync(join(directory, file), 'utf8'),
  )
  writeFileSync(join(directory, 'cert-chain.pem'), `${ca}${root}`)
  chmodSync(join(directory, 'ca-key.pem'), 0o600)
  return directory
}

const failing = (error: MeshError): void => {
  throw error
}

for (const key of ['rsa', 'rsa-pkcs1', 'ec', 'ec-sec1', 'p384'] as const) {
  t.test(`an intermediate with a key of the kind ${key} signs what openssl verifies`, async (t) => {
    const directory = makeCacerts(t.testdir(), key)
    const clock = new ManualClock(Date.now())
    const authority = await openCacerts({ directory, clock, onMistake: failing })
    const plan = await planFor(CART, clock.nowMs)
    const chain = await authority.sign(plan)
    t.equal(chain.length, 3, 'leaf, intermediate, roots')
    t.match(assembleCertificate(plan, chain, clock.nowMs), { kind: 'workload-certificate' })
    const [leaf, issuer] = chain.map((pem) => new X509Certificate(pem))
    t.ok(leaf && issuer && leaf.verify(issuer.publicKey) && leaf.checkIssued(issuer))
    writeFileSync(join(directory, 'leaf.pem'), chain[0] ?? '')
    openssl(directory, 'verify -x509_strict -CAfile root-cert.pem -untrusted ca-cert.pem leaf.pem')
    t.equal(await authority.rootsPem(), chain[2])
  })
}

t.test('a root may sign itself, and the chain file may be absent then', async (t) => {
  const directory = makeCacerts(t.testdir(), 'rsa')
  copyFileSync(join(directory, 'root-cert.pem'), join(directory, 'ca-cert.pem'))
  copyFileSync(join(directory, 'root-key.pem'), join(directory, 'ca-key.pem'))
  chmodSync(join(directory, 'ca-key.pem'), 0o600)
  rmSync(join(directory, 'cert-chain.pem'))
  const clock = new ManualClock(Date.now())
  const authority = await openCacerts({ directory, clock, onMistake: failing })
  t.equal((await authority.sign(await planFor(CART, clock.nowMs))).length, 2)
})

t.test('a leaf never outlives the chain above it, nor is signed outside of its life', async (t) => {
  const directory = makeCacerts(t.testdir(), 'ec', 5)
  const clock = new ManualClock(Date.now())
  const authority = await openCacerts({ directory, clock, onMistake: failing })
  const [pem = ''] = await authority.sign(await planFor(CART, clock.nowMs, 30 * DAY_MS))
  const root = new X509Certificate(readFileSync(join(directory, 'root-cert.pem')))
  t.equal(new X509Certificate(pem).validToDate.getTime(), root.validToDate.getTime())
  clock.advance(6 * DAY_MS)
  await t.rejects(authority.sign(await planFor(CART, clock.nowMs)), { code: 'CERT_EXPIRED' })
  const earlier = new ManualClock(Date.now() - DAY_MS)
  const early = await openCacerts({ directory, clock: earlier, onMistake: failing })
  await t.rejects(early.sign(await planFor(CART, earlier.nowMs)), { code: 'CERT_NOT_YET_VALID' })
})

t.test('files that are missing, readable or do not fit together are not used', async (t) => {
  const clock = new ManualClock(Date.now())
  const directory = makeCacerts(t.testdir({ other: {} }), 'ec')
  const other = makeCacerts(join(directory, 'other'), 'ec')
  const open = () => openCacerts({ directory, clock, onMistake: failing })
  chmodSync(join(directory, 'ca-key.pem'), 0o604)
  await t.rejects(open(), { code: 'CA_KEY' }, 'readable by everyone')
  chmodSync(join(directory, 'ca-key.pem'), 0o640)
  t.ok(await open(), 'by the group of the volume')
  for (const [file, what] of [
    ['ca-key.pem', 'the key of another'],
    ['root-cert.pem', 'the root of another'],
    ['ca-cert.pem', 'the certificate of another'],
  ] as const) {
    const good = readFileSync(join(directory, file))
    copyFileSync(join(other, file), join(directory, file))
    await t.rejects(open(), { code: 'CA_KEY' }, what)
    rmSync(join(directory, file))
    await t.rejects(open(), { code: 'CA_KEY' }, `${file} is missing`)
    writeFileSync(join(directory, file), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', {
      mode: 0o600,
    })
    await t.rejects(open(), { code: 'CA_KEY' }, `${file} is garbage`)
    writeFileSync(join(directory, file), good, { mode: 0o600 })
  }
  t.ok(await open())
})

t.test('new files are taken live; bad ones are told and change nothing', async (t) => {
  const directory = makeCacerts(t.testdir({ next: {} }), 'ec')
  const clock = new ManualClock(Date.now())
  const mistakes: string[] = []
  const authority = await openCacerts({ directory, clock, onMistake: ({ code }) => mistakes.push(code) })
  const old = await authority.rootsPem()
  writeFileSync(join(directory, 'ca-cert.pem'), 'half a file')
  clock.advance(6_000)
  t.equal((await authority.sign(await planFor(CART, clock.nowMs))).at(-1), old)
  t.same(mistakes, ['CA_KEY'])
  clock.advance(6_000)
  await authority.rootsPem()
  t.same(mistakes, ['CA_KEY'], 'told once')
  const next = makeCacerts(join(directory, 'next'), 'rsa')
  for (const file of ['ca-cert.pem', 'ca-key.pem', 'root-cert.pem', 'cert-chain.pem'])
    copyFileSync(join(next, file), join(directory, file))
  clock.advance(6_000)
  t.not(await authority.rootsPem(), old)
  t.equal(mistakes.length, 1)
})
