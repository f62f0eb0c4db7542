// SPDX-License-Identifier: Apache-2.0
// Which certificates a later run finds. Certificates are plain data here.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import {
  packCertificates,
  SavedCertificates,
  unpackCertificates,
} from '../../../mesh/snapshot/saved-certificates.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const HOUR_MS = 3_600_000
const clock = new ManualClock()

function certificate(name: string, hours = 24, roots: readonly string[] = ['root']): WorkloadCertificate {
  return {
    ...{
      kind: 'workload-certificate',
      identity: `spiffe://d/ns/shop/sa/${name}`,
      chainPem: [`chain of ${name}`],
    },
    ...{ rootsPem: roots, trustBundleId: roots.join(), privateKeyPem: `key of ${name}`, serialNumber: '1' },
    ...{ notBeforeMs: clock.nowMs, notAfterMs: clock.nowMs + hours * HOUR_MS },
  }
}

function runs(t: Test) {
  const path = join(t.testdir(), 'certificates.sealed')
  const owner = { trustDomain: 'd', clusterId: 'c', nodeName: 'n' }
  /** A run that has these; it ends when all is saved. */
  const run = async (current: readonly WorkloadCertificate[], graceMs = 0): Promise<SavedCertificates> => {
    const saved = new SavedCertificates({
      place: async () => ({ path, key: Buffer.alloc(32, 1), purpose: 'certificates', owner }),
      current: () => current,
      graceMs,
      ...{ clock, log: pino({ level: 'silent' }) },
    })
    await saved.start()
    saved.changed()
    await saved.close()
    return saved
  }
  return { run, path }
}

const names = (saved: SavedCertificates, ...all: string[]): string[] =>
  all.filter((name) => saved.of(`spiffe://d/ns/shop/sa/${name}`) !== undefined)

t.test('a later run finds them whole, until they end', async (t) => {
  const { run, path } = runs(t)
  const all = [certificate('front'), certificate('cart', 1, ['root', 'next root'])]
  t.same(names(await run(all), 'front', 'cart'), [], 'the first finds none')
  const later = await run([])
  t.same(
    all.map(({ identity }) => later.of(identity)),
    all,
  )
  t.equal(later.of('spiffe://d/ns/shop/sa/other'), undefined)
  clock.advance(HOUR_MS)
  t.same(names(later, 'front', 'cart'), ['front'])
  await run([])
  t.notMatch(readFileSync(path, 'latin1'), /key of cart/, 'nor is the key kept')
})

t.test('one that has ended is kept as long as peers may accept it', async (t) => {
  const { run, path } = runs(t)
  await run([certificate('cart', 1)], HOUR_MS)
  clock.advance(2 * HOUR_MS - 1)
  t.same(names(await run([], HOUR_MS), 'cart'), ['cart'])
  clock.advance(1)
  t.same(names(await run([], HOUR_MS), 'cart'), [])
  t.notMatch(readFileSync(path, 'latin1'), /key of cart/)
})

t.test('pods that have not come back keep theirs for a while, and no longer', async (t) => {
  const { run, path } = runs(t)
  await run([certificate('front'), certificate('cart')])
  const next = await run([{ ...certificate('front'), privateKeyPem: 'new key of front' }])
  t.same(names(next, 'front', 'cart'), ['front', 'cart'])
  t.match(readFileSync(path, 'latin1'), /new key of front.*key of cart/s)
  clock.advance(600_001)
  next.changed()
  await next.close()
  t.notMatch(readFileSync(path, 'latin1'), /key of cart/)
  t.match(readFileSync(path, 'latin1'), /new key of front/)
})

t.test('roots that are the same are there once', (t) => {
  const all = [certificate('a'), certificate('b'), certificate('c', 1, ['x', 'y'])]
  const packed = packCertificates(all)
  t.same(packed.bundles, [['root'], ['x', 'y']])
  t.same(unpackCertificates(packed), all)
  t.end()
})
