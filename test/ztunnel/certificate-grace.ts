// SPDX-License-Identifier: Apache-2.0
// What a node remembers of its peers over a restart, and what it tells of those whom it lets in by grace.
import { hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { SeenKeys } from '../../mesh/identity/seen-keys.ts'
import { NodeCertificateGrace } from '../../ztunnel/certificate-grace.ts'
import { ManualClock } from '../support/manual-clock.ts'

const CART = hash('sha256', 'cart', 'buffer')

function setUp(t: Test, days: number) {
  const path = join(t.testdir(), 'peers.sealed')
  const clock = new ManualClock()
  const logged: Record<string, unknown>[] = []
  const owner = { trustDomain: 'd', clusterId: 'c', nodeName: 'n' }
  const run = async () => {
    const grace = new NodeCertificateGrace({
      place: async () => ({ path, key: Buffer.alloc(32, 1), purpose: 'peers', owner }),
      log: pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) }),
      ...{ days, clock },
    })
    await grace.start()
    const keys = grace.settings === null ? null : new SeenKeys(grace.settings.seenKeys)
    return { grace, keys }
  }
  return { run, path, clock, logged }
}

t.test('peers are known after a restart', async (t) => {
  const { run, clock, logged } = setUp(t, 3)
  const first = await run()
  t.equal(first.grace.settings?.graceSeconds, 3 * 86_400)
  first.keys?.add(CART, clock.nowMs)
  await first.grace.close()
  t.equal(clock.pendingCount, 0)
  const second = await run()
  t.ok(second.keys?.has(CART))
  await second.grace.close()
  t.same(logged, [])
})

t.test('what workers have seen is saved without being told', async (t) => {
  const { run, path, clock } = setUp(t, 1)
  const { grace, keys } = await run()
  clock.advance(10_000)
  clock.advance(200)
  t.notOk(existsSync(path), 'nothing new')
  keys?.add(CART, clock.nowMs)
  clock.advance(10_000)
  clock.advance(200)
  while (!existsSync(path)) await new Promise((resolve) => setImmediate(resolve))
  await grace.close()
})

t.test('who is let in is counted each time and named once', async (t) => {
  const { run, logged } = setUp(t, 1)
  const { grace } = await run()
  for (const name of ['front', 'front', 'batch']) grace.onConnection(`spiffe://d/ns/shop/sa/${name}`)
  t.equal(grace.connectionCount, 3)
  t.same(
    logged.map(({ reason, identity }) => [reason, identity]),
    [
      ['CERT_GRACE', 'spiffe://d/ns/shop/sa/front'],
      ['CERT_GRACE', 'spiffe://d/ns/shop/sa/batch'],
    ],
  )
  for (let number = 0; number < 2000; number++) grace.onConnection(`spiffe://d/ns/shop/sa/p${number}`)
  t.equal(grace.connectionCount, 2003)
  t.equal(logged.length, 1000)
  await grace.close()
})

t.test('off: no memory, no file, no timer', async (t) => {
  const { run, path, clock } = setUp(t, 0)
  const { grace } = await run()
  t.equal(grace.settings, null)
  t.equal(clock.pendingCount, 0)
  await grace.close()
  t.notOk(existsSync(path))
})
