// SPDX-License-Identifier: Apache-2.0
// Join tokens over the directory store: what is true of a token must survive races between replicas and a restart.
import { fork } from 'node:child_process'
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Caller, Enrolment } from '../../../controller/ca/attestation.ts'
import { openJoinTokenDirectory } from '../../../controller/ca/join-token-directory.ts'
import {
  createJoinToken,
  enrolmentsOf,
  type JoinTokenRequest,
  type JoinTokenStore,
  joinTokenAttestor,
  MAX_ALLOWED_IDENTITIES,
  MAX_JOIN_TOKEN_MS,
} from '../../../controller/ca/join-tokens.ts'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { nodeIdentity } from '../../../mesh/identity/node-identity.ts'
import { CART, credentialsOf, FRONT, TRUST_DOMAIN } from '../../support/ca.ts'

const NOW_MS = Date.UTC(2026, 0, 1)
const NODE = nodeIdentity(TRUST_DOMAIN, 'vm1')
const good: JoinTokenRequest = { node: 'vm1', allowedIdentities: [CART], lifetimeMs: 600_000 }

async function make(store: JoinTokenStore, request = good): Promise<{ id: string; token: string }> {
  const made = await createJoinToken(store, request, TRUST_DOMAIN, NOW_MS)
  if (isRefusal(made)) throw new Error(made.detail)
  return made
}

const attest = (store: JoinTokenStore, token: string, nowMs = NOW_MS) =>
  joinTokenAttestor(store, TRUST_DOMAIN).attest(credentialsOf({ authorization: `Bearer ${token}` }, nowMs))

async function believed(store: JoinTokenStore, token: string): Promise<Caller> {
  const caller = await attest(store, token)
  if (caller === null || isRefusal(caller)) throw new Error(JSON.stringify(caller))
  return caller
}

const KEY = Uint8Array.of(1)
const OTHER_KEY = Uint8Array.of(2)
const enrolment = (store: JoinTokenStore, node = 'vm1'): Promise<Enrolment | null> =>
  enrolmentsOf(store).enrolmentOf(node)

t.test('a token buys the certificate of its node, once, and enrols it', async (t) => {
  const directory = join(t.testdir(), 'tokens')
  const store = openJoinTokenDirectory(directory)
  const { id, token } = await make(store)
  t.match(token, /^sidestep-join\.[0-9a-f]{24}\.[\w-]{43}$/)
  t.equal(await enrolment(store), null, 'not before it joined')
  const caller = await believed(store, token)
  t.match(caller, { node: 'vm1', account: `join token ${id}` })
  t.equal(await caller.authorise(null), NODE)
  t.equal(await caller.authorise(NODE), NODE)
  t.match(await caller.authorise(CART), { code: 'IDENTITY_REFUSED' }, 'the list is for later')
  t.match(await believed(store, token), { node: 'vm1' }, 'looking does not spend')
  t.equal(await caller.claim?.(KEY), undefined)
  t.equal(await caller.claim?.(KEY), undefined, 'whose answer was lost asks again')
  t.match(await caller.claim?.(OTHER_KEY), { code: 'JOIN_TOKEN_REUSED' })
  const later = openJoinTokenDirectory(directory)
  const again = await believed(later, token)
  t.match(await again.claim?.(OTHER_KEY), { code: 'JOIN_TOKEN_REUSED' }, 'also after a restart')
  t.match(await again.authorise(CART), { code: 'JOIN_TOKEN_REUSED' }, 'whoever it is, it is not the node')
  t.equal(await again.claim?.(KEY), undefined)
  t.match(
    await attest(later, token, NOW_MS + 600_000),
    { code: 'JOIN_TOKEN_REUSED' },
    'nobody, once it has ended',
  )
  t.same(await enrolment(later), { allowedIdentities: [CART] })
  t.equal(await enrolment(later, 'vm2'), null)
})

t.test('of many that use a stolen token at once exactly one wins', async (t) => {
  const directory = t.testdir()
  for (let round = 0; round < 10; round++) {
    const { token } = await make(openJoinTokenDirectory(directory), { ...good, node: `vm${round}` })
    const callers = await Promise.all(
      Array.from({ length: 16 }, () => believed(openJoinTokenDirectory(directory), token)),
    )
    const answers = await Promise.all(callers.map((caller, index) => caller.claim?.(Uint8Array.of(index))))
    t.equal(answers.filter((answer) => answer === undefined).length, 1)
    t.equal(answers.filter((answer) => answer?.code === 'JOIN_TOKEN_REUSED').length, 15)
  }
})

t.test('replicas in processes of their own agree on the winner too', async (t) => {
  const directory = t.testdir()
  const program = join(import.meta.dirname, '..', '..', 'support', 'claim-join-token.ts')
  const { id } = await make(openJoinTokenDirectory(directory))
  const children = Array.from({ length: 4 }, (_, index) =>
    fork(program, [directory, id, `${index}`], { execArgv: ['--no-warnings'] }),
  )
  await Promise.all(children.map((child) => new Promise((resolve) => child.once('message', resolve)))) // ready
  const wins = Promise.all(children.map((child) => new Promise((resolve) => child.once('message', resolve))))
  for (const child of children) child.send('go')
  t.same((await wins).toSorted(), [false, false, false, true])
})

t.test('wrong, foreign, ended and revoked tokens are refused', async (t) => {
  const store = openJoinTokenDirectory(t.testdir())
  const { id, token } = await make(store)
  const other = await make(store, { ...good, node: 'vm2' })
  const secret = token.split('.')[2] ?? ''
  const flipped = `${token.slice(0, -2)}${token.at(-2) === 'A' ? 'B' : 'A'}${token.at(-1)}`
  for (const [what, bad] of [
    ['a wrong secret', flipped],
    ['the secret of another', `sidestep-join.${other.id}.${secret}`],
    ['an unknown id', `sidestep-join.${'0'.repeat(24)}.${secret}`],
    ['a path for an id', `sidestep-join.../../../etc/passwd.${secret}`],
    ['no secret', `sidestep-join.${id}.`],
    ['half a secret', token.slice(0, -1)],
    ['more than a secret', `${token}A`],
  ] as const)
    t.match(await attest(store, bad), { code: 'TOKEN_INVALID' }, what)
  t.match(await attest(store, token, NOW_MS + 599_999), { kind: 'caller' })
  t.match(await attest(store, token, NOW_MS + 600_000), { code: 'TOKEN_INVALID' }, 'ended')
  t.match(
    await attest(store, token, NOW_MS - 86_400_000),
    { code: 'TOKEN_INVALID' },
    'a clock that stepped back',
  )
  const caller = await believed(store, token)
  await store.revoke(id)
  await store.revoke(id)
  await store.revoke('unknown')
  t.match(await attest(store, token), { code: 'TOKEN_INVALID' })
  t.match(await caller.claim?.(KEY), { kind: 'refusal' }, 'revoked between the look and the claim')
  t.equal(await attest(store, 'eyJhbGciOi.x.y'), null, 'a token of Kubernetes is for others')
})

t.test('a node is out when its token is revoked, and back in with another', async (t) => {
  const store = openJoinTokenDirectory(t.testdir())
  const first = await make(store)
  await (await believed(store, first.token)).claim?.(KEY)
  t.ok(await enrolment(store))
  await store.revoke(first.id)
  t.equal(await enrolment(store), null)
  const second = await make(store, { ...good, allowedIdentities: [FRONT] })
  t.equal(await enrolment(store), null)
  await (await believed(store, second.token)).claim?.(KEY)
  t.same(await enrolment(store), { allowedIdentities: [FRONT] })
  const fates = (await store.list()).map(({ id, isUsed, isRevoked }) => ({ id, isUsed, isRevoked }))
  const byId = (a: { id: string }, b: { id: string }): number => a.id.localeCompare(b.id)
  t.same(
    fates.toSorted(byId),
    [
      { id: first.id, isUsed: true, isRevoked: true },
      { id: second.id, isUsed: true, isRevoked: false },
    ].toSorted(byId),
  )
})

t.test('what is stored lets nobody in, and nobody else may read it', async (t) => {
  const directory = join(t.testdir(), 'tokens')
  const store = openJoinTokenDirectory(directory)
  t.same(await store.list(), [])
  const { id, token } = await make(store)
  await (await believed(store, token)).claim?.(KEY)
  const secret = token.split('.')[2] ?? 'x'
  for (const file of readdirSync(directory)) {
    t.equal(statSync(join(directory, file)).mode & 0o777, 0o600, file)
    t.notMatch(readFileSync(join(directory, file), 'utf8'), secret)
  }
  chmodSync(join(directory, `${id}.json`), 0o644)
  await t.rejects(attest(store, token), { code: 'CA_KEY' })
  chmodSync(join(directory, `${id}.json`), 0o600)
  for (const damage of [
    '',
    '{}',
    'null',
    readFileSync(join(directory, `${id}.json`), 'utf8').replace(id, 'x'),
  ]) {
    writeFileSync(join(directory, `${id}.json`), damage)
    await t.rejects(attest(store, token), { code: 'CA_KEY' }, damage)
  }
})

t.test('tokens that would be too much are not made', async (t) => {
  const store = openJoinTokenDirectory(t.testdir())
  const wrong: Record<string, Partial<JoinTokenRequest>> = {
    'too long': { lifetimeMs: MAX_JOIN_TOKEN_MS + 1 },
    'no life': { lifetimeMs: 0 },
    'no number': { lifetimeMs: Number.NaN },
    'a path for a node': { node: '../vm1' },
    'capital letters': { node: 'VM1' },
    'no node': { node: '' },
    'a long node': { node: `a${'.a'.repeat(127)}` },
    'a foreign identity': { allowedIdentities: ['spiffe://other/ns/shop/sa/cart'] },
    'the identity of a node': { allowedIdentities: [NODE] },
    'no identity': { allowedIdentities: ['*'] },
    'many identities': { allowedIdentities: Array(MAX_ALLOWED_IDENTITIES + 1).fill(CART) },
  }
  for (const [what, differing] of Object.entries(wrong))
    t.match(
      await createJoinToken(store, { ...good, ...differing }, TRUST_DOMAIN, NOW_MS),
      { code: 'CONFIG_INVALID' },
      what,
    )
  const most = {
    ...good,
    lifetimeMs: MAX_JOIN_TOKEN_MS,
    allowedIdentities: Array(MAX_ALLOWED_IDENTITIES).fill(CART),
  }
  t.ok((await make(store, most)).token)
  t.equal((await store.list()).length, 1)
})
