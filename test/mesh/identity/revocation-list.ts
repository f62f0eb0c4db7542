// SPDX-License-Identifier: Apache-2.0
// Lists of our own CA and of the openssl program, and everything that is none.
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isRefusal, type Refusal } from '../../../mesh/errors/refusal.ts'
import type { WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import {
  createRootCertificate,
  generateKeyPair,
  publicKeyInfoOf,
  type RevocationListTemplate,
  type Signer,
  signCertificate,
  signRevocationList,
} from '../../../mesh/identity/pki.ts'
import {
  fingerprintOf,
  joinRevocationLists,
  listIssuersOf,
  MAX_REVOCATION_LISTS,
  MAX_REVOCATIONS_BYTES,
  MAX_REVOKED,
  type RevocationList,
  splitRevocationLists,
  verifyRevocationList,
} from '../../../mesh/identity/revocation-list.ts'
import { RevokedSet, shareRevoked } from '../../../mesh/identity/revoked-set.ts'
import { TestAuthority } from '../../support/certificates.ts'

const NOW_MS = Math.floor(Date.now() / 1000) * 1000
const HOUR_MS = 3_600_000
const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }

async function root(organization = 'cluster.local'): Promise<Signer> {
  const pair = await generateKeyPair()
  const certificatePem = await createRootCertificate(pair, organization, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS)
  return { certificatePem, privateKey: pair.privateKey }
}

function holder(rootsPem: readonly string[], chainPem: readonly string[] = ['']): WorkloadCertificate {
  const dates = { notBeforeMs: 0, notAfterMs: 0, serialNumber: '1', trustBundleId: rootsPem.join('') }
  return { kind: 'workload-certificate', identity: '', privateKeyPem: '', chainPem, rootsPem, ...dates }
}

const template = (serials: readonly string[]): RevocationListTemplate => ({
  number: 7,
  thisUpdateMs: NOW_MS,
  nextUpdateMs: NOW_MS + HOUR_MS,
  revoked: serials.map((serialNumber, index) => ({ serialNumber, atMs: NOW_MS, reason: index % 2 })),
})
const derOf = (pem: string): Buffer => {
  const lists = splitRevocationLists(Buffer.from(pem))
  if (isRefusal(lists) || lists[0] === undefined) throw new Error('no list')
  return lists[0]
}
const read = (der: Buffer, issuers: readonly Signer[]): RevocationList | Refusal | 'undecided' =>
  verifyRevocationList(der, listIssuersOf(holder(issuers.map(({ certificatePem }) => certificatePem))))

function good(t: Test, result: ReturnType<typeof read>): RevocationList {
  if (result === 'undecided' || isRefusal(result)) {
    t.fail(JSON.stringify(result))
    throw new Error('no list')
  }
  return result
}

t.test('a list names the certificates that it revokes, and no others', async (t) => {
  const authority = await TestAuthority.create(NOW_MS)
  const leaves = await Promise.all(Array.from({ length: 8 }, () => authority.sign(CART)))
  const serials = leaves.map(({ certificatePem }) => new X509Certificate(certificatePem).serialNumber)
  const list = good(
    t,
    read(
      derOf(
        await authority.signRevocations(template(serials.slice(0, 5).map((hex) => `${BigInt(`0x${hex}`)}`))),
      ),
      [{ certificatePem: authority.rootPem }] as unknown as Signer[], // as: only its certificate is looked at
    ),
  )
  t.equal(list.thisUpdateMs, NOW_MS)
  t.equal(list.nextUpdateMs, NOW_MS + HOUR_MS)
  const set = new RevokedSet(shareRevoked(list.revoked))
  t.same(
    leaves.map(({ certificatePem }) => set.has(fingerprintOf(certificatePem))),
    [true, true, true, true, true, false, false, false],
  )
})

t.test('openssl and we read the same, whatever its key is', async (t) => {
  for (const [kind, options] of [
    ['EC', '-pkeyopt ec_paramgen_curve:P-384'],
    ['RSA', '-pkeyopt rsa_keygen_bits:2048'],
  ] as const) {
    const directory = t.testdir()
    const file = (name: string): string => join(directory, name)
    const run = (command: string): string =>
      execFileSync('openssl', command.split(' '), { cwd: directory, stdio: 'pipe' }).toString()
    writeFileSync(
      file('ca.conf'),
      '[ca]\ndefault_ca=d\n[d]\ndatabase=index\ncertificate=ca.pem\nprivate_key=ca.key\ndefault_md=sha384\n' +
        'default_crl_days=1\ncrlnumber=number\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n',
    )
    writeFileSync(file('index'), `R\t351231235959Z\t240101000000Z,keyCompromise\tA1B2C3D4\tunknown\t/O=x\n`)
    writeFileSync(file('number'), '01\n')
    run(`genpkey -algorithm ${kind} ${options} -out ca.key`)
    run('req -x509 -new -key ca.key -subj /O=mesh -out ca.pem')
    run('ca -config ca.conf -gencrl -out list.pem')
    const pem = readFileSync(file('list.pem'), 'utf8')
    const [issuer] = listIssuersOf(holder([readFileSync(file('ca.pem'), 'utf8')]))
    if (issuer === undefined) throw new Error('no issuer')
    const list = good(t, verifyRevocationList(derOf(pem), [issuer]))
    const set = new RevokedSet(shareRevoked(list.revoked))
    t.ok(set.hasCertificate(issuer.name, Buffer.from('a1b2c3d4', 'hex')), kind)
    t.notOk(set.hasCertificate(issuer.name, Buffer.from('a1b2c3d5', 'hex')))
    t.notOk(set.hasCertificate(Buffer.from('other'), Buffer.from('a1b2c3d4', 'hex')))
  }
})

t.test('a list of somebody else is undecided, also when he took the name', async (t) => {
  const [ours, namesake, other] = await Promise.all([root(), root(), root('elsewhere')])
  const list = derOf(await signRevocationList(namesake, template(['5'])))
  t.equal(read(list, [ours, other]), 'undecided')
  t.equal(read(list, []), 'undecided')
  t.equal(good(t, read(list, [ours, namesake])).revoked.length, 1, 'the successor of a root has its name')
  t.equal(read(derOf(await signRevocationList(other, template(['5']))), [ours]), 'undecided')
})

t.test('an intermediate of the own chain is believed when a root signed it, a stranger is not', async (t) => {
  const [ours, stranger] = await Promise.all([root(), root('elsewhere')])
  const pair = await generateKeyPair()
  const certificatePem = await signCertificate(ours, {
    ...{ publicKeyInfo: await publicKeyInfoOf(pair), uris: [], isCa: true, organization: 'between' },
    ...{ notBeforeMs: NOW_MS - HOUR_MS, notAfterMs: NOW_MS + HOUR_MS },
  })
  const between = { certificatePem, privateKey: pair.privateKey }
  const list = derOf(await signRevocationList(between, template(['5'])))
  const names = (believed: Signer): number =>
    listIssuersOf(holder([believed.certificatePem], ['leaf', certificatePem])).length
  t.same([names(ours), names(stranger)], [2, 1])
  t.match(verifyRevocationList(list, listIssuersOf(holder([ours.certificatePem], ['', certificatePem]))), {
    kind: 'revocation-list',
  })
  t.equal(read(list, [ours]), 'undecided')
})

t.test('every changed bit of a list is noticed', async (t) => {
  const ours = await root()
  const list = derOf(await signRevocationList(ours, template(['5', '123456789012345678901234567890'])))
  fc.assert(
    fc.property(fc.nat(list.length * 8 - 1), (bit) => {
      const changed = Buffer.from(list)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const result = read(changed, [ours])
      return result === 'undecided' || isRefusal(result)
    }),
    { numRuns: 400 },
  )
  for (let length = 0; length < list.length; length++) {
    const result = read(list.subarray(0, length), [ours])
    if (result !== 'undecided' && !isRefusal(result)) t.fail(`cut to ${length} bytes`)
  }
  t.ok(isRefusal(read(Buffer.concat([list, Buffer.alloc(1)]), [ours])))
})

t.test('garbage is refused, never thrown', async (t) => {
  const ours = await root()
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const result = read(Buffer.from(bytes), [ours])
      t.ok(result === 'undecided' || isRefusal(result))
      const lists = splitRevocationLists(bytes)
      t.ok(isRefusal(lists) || bytes[0] === 0x30)
    }),
  )
  const begin = '-----BEGIN X509 CRL-----'
  for (const text of ['', 'x', begin, `${begin}AAAA`, '-----END X509 CRL-----'])
    t.ok(isRefusal(splitRevocationLists(Buffer.from(text))), text)
})

t.test('lists are as many and as long as they may be, not more', async (t) => {
  const ours = await root()
  const serials = Array.from({ length: MAX_REVOKED + 1 }, (_, index) => `${index + 1}`)
  const full = derOf(await signRevocationList(ours, template(serials.slice(1))))
  t.equal(good(t, read(full, [ours])).revoked.length, MAX_REVOKED)
  const over = derOf(await signRevocationList(ours, template(serials)))
  t.match(read(over, [ours]), { code: 'CERT_INVALID', detail: /more than 10000/ })
  const double = await signRevocationList(ours, template([...serials, ...serials.map((each) => `9${each}`)]))
  t.match(read(derOf(double), [ours]), { code: 'CERT_INVALID' })

  const many = (count: number): Buffer => Buffer.from(joinRevocationLists(Array(count).fill(full)))
  t.equal((splitRevocationLists(many(MAX_REVOCATION_LISTS)) as Buffer[]).length, MAX_REVOCATION_LISTS) // as: no refusal
  t.ok(isRefusal(splitRevocationLists(many(MAX_REVOCATION_LISTS + 1))))
  const long = Buffer.alloc(MAX_REVOCATIONS_BYTES + 1, '-')
  t.match(splitRevocationLists(long), { detail: /too long/ })
  t.match(splitRevocationLists(long.subarray(1)), { detail: 'no revocation list' })
})

t.test('what is sent is what is read, in PEM and in DER', async (t) => {
  const ours = await root()
  const pem = await signRevocationList(ours, template([]))
  const der = derOf(pem)
  t.same(splitRevocationLists(der), [der])
  t.same(splitRevocationLists(Buffer.from(joinRevocationLists([der, der]))), [der, der])
  t.equal(good(t, read(der, [ours])).revoked.length, 0)
})
