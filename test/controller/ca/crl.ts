// SPDX-License-Identifier: Apache-2.0
// Lists as the openssl program and a TLS server of node read them.
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import t from 'tap'
import { RevocationRegister } from '../../../controller/ca/crl.ts'
import { RootAuthority } from '../../../controller/ca/root-authority.ts'
import { MAX_REVOKED } from '../../../mesh/identity/revocation-list.ts'
import { CART, memoryKeyStore, planFor, TRUST_DOMAIN } from '../../support/ca.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const HOUR_MS = 3_600_000

async function setUp(startMs?: number) {
  const store = memoryKeyStore()
  const clock = new ManualClock(startMs)
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock, settleMs: 0 })
  const register = new RevocationRegister({ store, clock, signers: () => authority.signers() })
  return { store, clock, authority, register }
}

const serialOf = (pem: string): string => BigInt(`0x${new X509Certificate(pem).serialNumber}`).toString()

t.test('openssl refuses what the list names, and nothing else', async (t) => {
  const { clock, authority, register } = await setUp(Date.now())
  const directory = t.testdir()
  const verify = async (leafPem: string): Promise<string> => {
    const [list = ''] = await register.lists()
    writeFileSync(join(directory, 'root.pem'), `${await authority.rootsPem()}`)
    writeFileSync(join(directory, 'list.pem'), list)
    writeFileSync(join(directory, 'leaf.pem'), leafPem)
    const run = (command: string): string =>
      execFileSync('openssl', command.split(' '), { cwd: directory, stdio: 'pipe' }).toString()
    run('crl -in list.pem -CAfile root.pem -noout')
    try {
      return run('verify -x509_strict -crl_check -CAfile root.pem -CRLfile list.pem leaf.pem').trim()
    } catch (error) {
      return String(error)
    }
  }
  const plan = await planFor(CART, clock.nowMs)
  const [bad = ''] = await authority.sign(plan)
  const [good = ''] = await authority.sign(plan)
  t.equal(await verify(bad), 'leaf.pem: OK', 'an empty list names nobody')
  await register.revoke(serialOf(bad), clock.nowMs + HOUR_MS, 'superseded')
  t.match(await verify(bad), /certificate revoked/)
  t.equal(await verify(good), 'leaf.pem: OK')
  t.equal(await register.isRevoked(serialOf(bad)), true)
  t.equal(await register.isRevoked(serialOf(good)), false)

  const [list = ''] = await register.lists()
  const handshake = async (cert: string): Promise<string> => {
    const root = await authority.rootsPem()
    const server = createServer({
      cert: good,
      key: plan.privateKeyPem,
      ca: root,
      crl: list,
      requestCert: true,
      rejectUnauthorized: false, // so that the reason can be asked
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const client = connect({
      port,
      host: '127.0.0.1',
      cert,
      key: plan.privateKeyPem,
      ca: root,
      checkServerIdentity: () => undefined,
    })
    const [accepted] = (await once(server, 'secureConnection')) as [TLSSocket] // as: what it emits
    const answer = accepted.authorized ? 'accepted' : String(accepted.authorizationError)
    client.destroy()
    server.close()
    return answer
  }
  t.equal(await handshake(good), 'accepted')
  t.match(await handshake(bad), /^CERT_REVOKED$/)
})

t.test('a revocation survives a restart and reaches other replicas within seconds', async (t) => {
  const { store, clock, authority, register } = await setUp()
  const replica = new RevocationRegister({ store, clock, signers: () => authority.signers() })
  t.equal(await replica.isRevoked('42'), false)
  await Promise.all(['42', '43', '44'].map((serial) => register.revoke(serial, clock.nowMs + HOUR_MS)))
  await Promise.all([
    replica.revoke('45', clock.nowMs + HOUR_MS),
    register.revoke('42', clock.nowMs + HOUR_MS),
  ])
  clock.advance(5_000)
  for (const each of [register, replica, new RevocationRegister({ store, clock, signers: async () => [] })])
    for (const serial of ['42', '43', '44', '45']) t.equal(await each.isRevoked(serial), true)
})

t.test('a list is signed again before it ends, after a change, and after a clock stepped back', async (t) => {
  const { clock, register } = await setUp()
  const [first] = await register.lists()
  clock.advance(11 * HOUR_MS)
  t.same(await register.lists(), [first])
  clock.advance(HOUR_MS)
  const [second] = await register.lists()
  t.not(second, first)
  await register.revoke('42', clock.nowMs + HOUR_MS)
  const [third] = await register.lists()
  t.not(third, second)
  clock.advance(-HOUR_MS)
  t.not((await register.lists())[0], third)
})

t.test('during a rotation every root has its list', async (t) => {
  const { clock, authority, register } = await setUp(Date.now())
  t.equal((await register.lists()).length, 1)
  await authority.beginRotation()
  const lists = await register.lists()
  t.equal(lists.length, 2)
  await authority.advanceRotation(true)
  t.same((await register.lists()).toSorted(), lists.toSorted(), 'the same two, the other first')
  t.not((await register.lists())[0], lists[0])
  clock.advance(1_000)
  await authority.advanceRotation(false)
  t.equal((await register.lists()).length, 1)
})

t.test('what has expired is dropped, and a full register says so', async (t) => {
  const { store, clock, register } = await setUp()
  const many = Array.from({ length: MAX_REVOKED }, (_, serial) => ({
    serialNumber: `${serial}`,
    atMs: clock.nowMs,
    notAfterMs: clock.nowMs + HOUR_MS,
  }))
  await store.write('revoked', JSON.stringify({ format: 1, changes: 1, revoked: many }), null)
  await t.rejects(register.revoke('99999', clock.nowMs + HOUR_MS), { code: 'LIMIT_NODE' })
  clock.advance(26 * HOUR_MS)
  await register.revoke('99999', clock.nowMs + HOUR_MS)
  t.equal(JSON.parse(store.texts.get('revoked') ?? '').revoked.length, 1)
  await t.rejects(register.revoke('ff', 0), { code: 'CERT_INVALID' })
})

t.test('a damaged register does not read as: nothing is revoked', async (t) => {
  for (const text of [
    '',
    '{}',
    'null',
    '{"format":1,"changes":1,"revoked":[{}]}',
    '{"format":2,"changes":1,"revoked":[]}',
  ]) {
    const { store, register } = await setUp()
    store.texts.set('revoked', text)
    await t.rejects(register.isRevoked('1'), { code: 'CA_KEY' }, text)
    await t.rejects(register.lists(), { code: 'CA_KEY' }, text)
  }
})
