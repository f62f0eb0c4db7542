// SPDX-License-Identifier: Apache-2.0
// What every store of join tokens must do. A lab opens it as several replicas would and breaks what is stored.
import type { Test } from 'tap'
import { createJoinToken, enrolmentsOf, type JoinTokenStore } from '../../controller/ca/join-tokens.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { CART, FRONT, TRUST_DOMAIN } from './ca.ts'

const NOW_MS = Date.UTC(2026, 0, 1)
const LIFETIME_MS = 600_000

/** One place where tokens are stored; closed after the test. */
export interface JoinTokenLab {
  /** One replica's view of it. */
  open(): JoinTokenStore
  /** The token of the present leader. */
  readonly fence: string
  /** Everything that is stored, as text. */
  dump(): Promise<string>
  /** Replaces the stored record of a token, as a hostile hand or half a write would; null: only its fate is left. */
  damage(id: string, record: string | null): Promise<void>
  close(): Promise<void>
}

type AddTest = (what: string, body: (t: Test, lab: JoinTokenLab) => Promise<void>) => void

/** Runs the suite; every test gets a lab of its own. `oldFence` is a token of yesterday, where leaders change. */
export function testJoinTokenStore(
  tap: Test,
  name: string,
  openLab: () => Promise<JoinTokenLab>,
  oldFence: string | null,
): void {
  const add: AddTest = (what, body) => {
    void tap.test(`${name}: ${what}`, async (t) => {
      const lab = await openLab()
      try {
        await body(t, lab)
      } finally {
        await lab.close()
      }
    })
  }
  testLife(add)
  testRaces(add)
  testPurge(add)
  if (oldFence !== null) testFencing(add, oldFence)
  testDamage(add)
}

async function make(store: JoinTokenStore, node = 'vm1', identities = [CART]) {
  const wanted = { node, allowedIdentities: identities, lifetimeMs: LIFETIME_MS }
  const made = await createJoinToken(store, wanted, TRUST_DOMAIN, NOW_MS)
  if (isRefusal(made)) throw new Error(made.detail)
  return made
}

/** A hash as a key has. */
const keyHash = (key: number): string => key.toString(16).padStart(64, '0')
const KEY = keyHash(1)

function testLife(test: AddTest): void {
  test('a token is found by every replica, with its fate', async (t, lab) => {
    const [one, other] = [lab.open(), lab.open()]
    t.same(await other.list(), [])
    t.equal(await other.find('0'.repeat(24)), null)
    t.equal(await other.findByNode('vm1'), null)
    const { id } = await make(one)
    const record = { node: 'vm1', allowedIdentities: [CART], createdAtMs: NOW_MS }
    t.match(await other.find(id), { id, ...record, expiresAtMs: NOW_MS + LIFETIME_MS, isUsed: false })
    t.equal(await other.findByNode('vm1'), null, 'not before it joined')
    t.equal(await one.claim(id, KEY), true)
    t.equal(await other.claim(id, KEY), true, 'the same key, as often as it comes')
    t.equal(await other.claim(id, keyHash(2)), false, 'no other one')
    t.match(await other.findByNode('vm1'), { id, isUsed: true, isRevoked: false })
    await one.revoke(id)
    await one.revoke(id)
    t.match(await other.findByNode('vm1'), { id, isUsed: true, isRevoked: true })
    t.equal(await enrolmentsOf(other).enrolmentOf('vm1'), null)
    t.equal((await other.list()).length, 1)
  })

  test('the last token a node joined with counts', async (t, lab) => {
    const store = lab.open()
    const [first, second] = [await make(store), await make(store, 'vm1', [FRONT])]
    await store.claim(first.id, KEY)
    t.match(await store.findByNode('vm1'), { id: first.id })
    await store.claim(second.id, KEY)
    t.match(await store.findByNode('vm1'), { id: second.id, allowedIdentities: [FRONT] })
    t.equal(await store.claim(first.id, KEY), true)
    t.match(await store.findByNode('vm1'), { id: second.id }, 'also when the first one is asked with again')
    t.equal((await store.list()).length, 2)
  })

  test('ids that are none are unknown, whatever they hold', async (t, lab) => {
    const store = lab.open()
    for (const id of [
      '',
      '../../etc/passwd',
      'x:record',
      '*',
      'f'.repeat(23),
      '\u0000',
      `${'f'.repeat(24)}\n`,
    ]) {
      t.equal(await store.find(id), null, JSON.stringify(id))
      t.equal(await store.claim(id, KEY), false)
      await store.revoke(id)
    }
    t.same(await store.list(), [])
  })

  test('the secret is nowhere in what is stored', async (t, lab) => {
    const store = lab.open()
    const { id, token } = await make(store)
    await store.claim(id, KEY)
    const text = await lab.dump()
    t.match(text, id)
    t.notMatch(text, token.split('.')[2] ?? 'x')
  })
}

function testRaces(test: AddTest): void {
  test('a token that was revoked is claimed by nobody', async (t, lab) => {
    const { id } = await make(lab.open())
    await lab.open().revoke(id)
    t.equal(await lab.open().claim(id, KEY), false)
    t.match(await lab.open().find(id), { isUsed: false, isRevoked: true })
    t.equal(await lab.open().findByNode('vm1'), null)
  })

  test('of many replicas that claim at once exactly one wins, also against a revocation', async (t, lab) => {
    for (let round = 0; round < 10; round++) {
      const { id } = await make(lab.open(), `vm${round}`)
      const wins = await Promise.all(
        Array.from({ length: 16 }, (_, index) => lab.open().claim(id, keyHash(index))),
      )
      t.equal(wins.filter((hasWon) => hasWon).length, 1)
      const next = await make(lab.open(), `vm${round}`)
      const [hasWon] = await Promise.all([lab.open().claim(next.id, KEY), lab.open().revoke(next.id)])
      // Whichever came first: revoked it is, and nobody is enrolled by it.
      t.equal((await lab.open().find(next.id))?.isRevoked, true)
      if (hasWon) t.equal(await enrolmentsOf(lab.open()).enrolmentOf(`vm${round}`), null)
      t.equal(await lab.open().claim(next.id, KEY), false)
    }
  })
}

function testPurge(test: AddTest): void {
  test('tokens that ended unused are forgotten, used and living ones stay', async (t, lab) => {
    const store = lab.open()
    const [used, unused, revoked] = [await make(store, 'a'), await make(store, 'b'), await make(store, 'c')]
    await store.claim(used.id, KEY)
    await store.revoke(revoked.id)
    t.equal(await store.purge(NOW_MS + LIFETIME_MS, lab.fence), 0, 'not at the very end')
    t.equal((await store.list()).length, 3)
    t.equal(await lab.open().purge(NOW_MS + LIFETIME_MS + 1, lab.fence), 2)
    t.same(
      (await store.list()).map(({ id }) => id),
      [used.id],
    )
    t.equal(await store.find(unused.id), null)
    t.equal(await store.claim(unused.id, KEY), false)
    t.ok(await enrolmentsOf(store).enrolmentOf('a'))
    t.equal(await store.purge(Number.MAX_SAFE_INTEGER, lab.fence), 0)
    const text = await lab.dump()
    t.notMatch(text, unused.id)
    t.notMatch(text, revoked.id)
  })
}

function testFencing(test: AddTest, oldFence: string): void {
  test('a leader of yesterday forgets nothing', async (t, lab) => {
    const store = lab.open()
    const { id } = await make(store)
    await t.rejects(store.purge(Number.MAX_SAFE_INTEGER, oldFence), { code: 'FENCED' })
    t.ok(await store.find(id))
  })
}

function testDamage(test: AddTest): void {
  test('what is damaged lets nobody in and disturbs no other token', async (t, lab) => {
    const store = lab.open()
    const [good, bad] = [await make(store, 'good'), await make(store, 'bad')]
    const other = JSON.stringify({ id: good.id, node: 'bad' })
    for (const record of ['', '{}', 'null', '{"id":', '[]', '\u0000', other, 'x'.repeat(100_000), null]) {
      await lab.damage(bad.id, record)
      const what = JSON.stringify(record)?.slice(0, 20)
      await t.rejects(store.find(bad.id), { code: 'CA_KEY' }, what)
      await t.rejects(store.claim(bad.id, KEY), { code: 'CA_KEY' }, what)
      t.equal(await enrolmentsOf(store).enrolmentOf('bad'), null)
    }
    await store.revoke(bad.id)
    t.equal(await store.claim(good.id, KEY), true)
    t.ok(await enrolmentsOf(store).enrolmentOf('good'))
    t.equal(await store.purge(NOW_MS, lab.fence), 0)
  })
}
