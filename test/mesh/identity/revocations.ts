// SPDX-License-Identifier: Apache-2.0
// Which lists are in force, and what a restart finds. Lists and certificates are a CA's own; time is the test's.
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import type { WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import {
  fingerprintOf,
  joinRevocationLists,
  MAX_REVOCATION_LISTS,
  splitRevocationLists,
} from '../../../mesh/identity/revocation-list.ts'
import { Revocations } from '../../../mesh/identity/revocations.ts'
import { RevokedSet } from '../../../mesh/identity/revoked-set.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const NOW_MS = Math.floor(Date.now() / 1000) * 1000
const MINUTE_MS = 60_000

async function certificateOf(authority: TestAuthority): Promise<WorkloadCertificate> {
  const { certificatePem, privateKeyPem } = await authority.sign(CART)
  const { serialNumber } = new (await import('node:crypto')).X509Certificate(certificatePem)
  return {
    ...{ kind: 'workload-certificate', identity: 'spiffe://cluster.local/ns/shop/sa/cart' },
    ...{ chainPem: [certificatePem], rootsPem: [authority.rootPem], trustBundleId: authority.rootPem },
    ...{ privateKeyPem, notBeforeMs: 0, notAfterMs: 0, serialNumber: BigInt(`0x${serialNumber}`).toString() },
  }
}

async function listOf(
  authority: TestAuthority,
  revoked: readonly WorkloadCertificate[],
  thisUpdateMs = NOW_MS,
): Promise<Buffer> {
  const pem = await authority.signRevocations({
    ...{ number: 1, thisUpdateMs, nextUpdateMs: thisUpdateMs + 60 * MINUTE_MS },
    revoked: revoked.map(({ serialNumber }) => ({ serialNumber, atMs: thisUpdateMs })),
  })
  const lists = splitRevocationLists(Buffer.from(pem))
  if (isRefusal(lists) || lists[0] === undefined) throw new Error('no list')
  return lists[0]
}

function open(t: Test, directory = t.testdir()) {
  const clock = new ManualClock(NOW_MS)
  const told: SharedArrayBuffer[] = []
  const logged: Readonly<Record<string, unknown>>[] = []
  const revocations = new Revocations({
    ...{ directory, clock, onChange: (memory) => told.push(memory) },
    log: pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) }),
  })
  return { revocations, clock, told, logged, directory }
}

t.test('a list counts from when its root is believed, whichever comes first', async (t) => {
  const authority = await TestAuthority.create(NOW_MS)
  const [good, bad] = [await certificateOf(authority), await certificateOf(authority)]
  const { revocations, told } = open(t)
  revocations.receive([await listOf(authority, [bad])])
  t.same([told.length, revocations.undecidedCount, revocations.isRevoked(bad)], [0, 1, false])
  revocations.believe(good)
  t.same([told.length, revocations.undecidedCount], [1, 0])
  t.same([revocations.isRevoked(bad), revocations.isRevoked(good)], [true, false])
  const [memory] = told
  t.ok(new RevokedSet(memory).has(fingerprintOf(bad.chainPem[0] ?? '')))
  revocations.receive([await listOf(authority, [bad], NOW_MS + 1000)])
  t.equal(told.length, 1, 'the same certificates are no change')
  await revocations.close()
})

t.test('nobody else can revoke', async (t) => {
  const [authority, stranger] = [await TestAuthority.create(NOW_MS), await TestAuthority.create(NOW_MS)]
  const own = await certificateOf(authority)
  const { revocations, told, logged } = open(t)
  revocations.believe(own)
  revocations.receive([await listOf(stranger, [own])])
  t.same([revocations.isRevoked(own), told.length, revocations.undecidedCount], [false, 0, 1])
  t.match(logged.at(-1), { level: 40, msg: /no root of this node has signed/ })
  revocations.receive([Buffer.from('garbage')])
  t.match(
    logged.findLast(({ level }) => level === 50),
    { reason: 'CERT_INVALID' },
  )
  await revocations.close()
})

t.test(
  'time takes nothing back, an old list does not come back, a clock ahead keeps nobody out',
  async (t) => {
    const authority = await TestAuthority.create(NOW_MS)
    const [one, two] = [await certificateOf(authority), await certificateOf(authority)]
    const { revocations, clock } = open(t)
    revocations.believe(one)
    const inForce = (): boolean[] => [one, two].map((each) => revocations.isRevoked(each))
    revocations.receive([await listOf(authority, [one])])
    clock.advance(90 * MINUTE_MS)
    t.same(inForce(), [true, false])
    t.match(revocations.status(), [{ isOverdue: true, revoked: 1 }])
    revocations.receive([await listOf(authority, [], NOW_MS - 10 * MINUTE_MS)])
    t.same(inForce(), [true, false], 'one from before')
    revocations.receive([await listOf(authority, [two], NOW_MS - MINUTE_MS)])
    t.same(inForce(), [false, true], 'one of a replica whose clock is a little behind')
    revocations.receive([await listOf(authority, [one], clock.nowMs + 1000 * MINUTE_MS)])
    t.same(inForce(), [true, false], 'one from the future')
    revocations.receive([await listOf(authority, [two], clock.nowMs)])
    t.same(inForce(), [false, true], 'the clock was put right')
    t.match(revocations.status(), [{ isOverdue: false }])
    await revocations.close()
  },
)

t.test('each root has its list; the ninth oldest goes', async (t) => {
  const { revocations } = open(t)
  const all: WorkloadCertificate[] = []
  for (let index = 0; index < MAX_REVOCATION_LISTS + 1; index++) {
    const authority = await TestAuthority.create(NOW_MS)
    const certificate = await certificateOf(authority)
    all.push(certificate)
    revocations.believe(certificate)
    revocations.receive([await listOf(authority, [certificate], NOW_MS + index * 1000)])
  }
  const [first, ...others] = all.map((each) => revocations.isRevoked(each))
  t.equal(first, false)
  t.ok(others.every((each) => each))
  await revocations.close()
})

t.test('a restart finds what was in force, and what was undecided', async (t) => {
  const [authority, later] = [await TestAuthority.create(NOW_MS), await TestAuthority.create(NOW_MS)]
  const [bad, ofLater] = [await certificateOf(authority), await certificateOf(later)]
  const before = open(t, join(t.testdir(), 'made'))
  before.revocations.believe(bad)
  before.revocations.receive([await listOf(authority, [bad]), await listOf(later, [ofLater])])
  before.revocations.receive([await listOf(authority, [bad], NOW_MS + 1000), await listOf(later, [ofLater])])
  await before.revocations.close()
  const path = join(before.directory, 'revocations.pem')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(before.directory).mode & 0o777, 0o700)
  t.notOk(existsSync(`${path}.new`))
  const after = open(t, before.directory)
  await after.revocations.start()
  t.equal(after.told.length, 0, 'believed by nobody yet')
  after.revocations.believe(bad)
  t.ok(after.revocations.isRevoked(bad))
  t.notOk(after.revocations.isRevoked(ofLater))
  after.revocations.believe(ofLater)
  t.ok(after.revocations.isRevoked(ofLater))
  t.same(
    after.logged.filter(({ level }) => Number(level) >= 50),
    [],
  )
})

t.test(
  'a file that is missing is nothing, one that is damaged is told; neither stops anything',
  async (t) => {
    const none = open(t)
    await none.revocations.start()
    t.same(none.logged, [])
    const authority = await TestAuthority.create(NOW_MS)
    const bad = await certificateOf(authority)
    const text = joinRevocationLists([await listOf(authority, [bad])])
    for (const damaged of ['', 'garbage', text.slice(0, 40), Buffer.alloc(20 * 1024 * 1024)]) {
      const each = open(t)
      writeFileSync(join(each.directory, 'revocations.pem'), damaged)
      await each.revocations.start()
      t.match(each.logged, [{ level: 50, msg: /unreadable/ }])
      each.revocations.believe(bad)
      each.revocations.receive([await listOf(authority, [bad])])
      t.ok(each.revocations.isRevoked(bad))
      await each.revocations.close()
      t.match(readFileSync(join(each.directory, 'revocations.pem'), 'latin1'), /^-----BEGIN X509 CRL/)
    }
  },
)

t.test('a directory that takes no file is told; the list is in force', async (t) => {
  const authority = await TestAuthority.create(NOW_MS)
  const bad = await certificateOf(authority)
  const directory = join(t.testdir({ file: 'no directory' }), 'file')
  chmodSync(directory, 0o600)
  const { revocations, logged } = open(t, directory)
  revocations.believe(bad)
  revocations.receive([await listOf(authority, [bad])])
  await revocations.close()
  t.ok(revocations.isRevoked(bad))
  t.match(logged.at(-1), { level: 50, msg: 'revocation lists not saved' })
})
