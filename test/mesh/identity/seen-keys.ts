// SPDX-License-Identifier: Apache-2.0
// Keys that were here: of all threads, bounded, kept over a restart.
import { hash } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t from 'tap'
import { createSeenKeys, MAX_SEEN_KEYS, SeenKeys } from '../../../mesh/identity/seen-keys.ts'

const NOW_MS = 1_800_000_000_000
const key = (name: string | number): Buffer => hash('sha256', String(name), 'buffer')

t.test('a key is known to every thread once it was here, and no other is', async (t) => {
  const memory = createSeenKeys()
  const [keys, others] = [new SeenKeys(memory), new SeenKeys(memory)]
  t.notOk(keys.has(key('a')))
  t.equal(keys.version, 0)
  keys.add(key('a'), NOW_MS)
  t.ok(others.has(key('a')))
  t.notOk(others.has(key('b')))
  t.equal(others.version, 1)
  keys.add(key('a'), NOW_MS + 3_600_000)
  t.equal(others.version, 1, 'nothing was added')

  const source = `
    import { workerData } from 'node:worker_threads'
    const { SeenKeys } = await import(workerData.module)
    new SeenKeys(workerData.memory).add(Buffer.from(workerData.fingerprint), ${NOW_MS})`
  const module = new URL('../../../mesh/identity/seen-keys.ts', import.meta.url).href
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: { module, memory, fingerprint: key('from a thread') },
  })
  await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
  t.ok(keys.has(key('from a thread')))
  t.equal(keys.version, 2)
})

t.test('what is saved is known again, and never more than that', async (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(), { maxLength: 200 }), fc.nat(), (names, stranger) => {
      const keys = new SeenKeys(createSeenKeys())
      for (const name of names) keys.add(key(name), NOW_MS)
      const again = new SeenKeys(createSeenKeys())
      again.load(keys.save())
      return (
        names.every((name) => again.has(key(name))) && again.has(key(stranger)) === names.includes(stranger)
      )
    }),
  )
  const damaged = new SeenKeys(createSeenKeys())
  damaged.load(Buffer.alloc(31).toString('base64'))
  damaged.load('')
  t.equal(damaged.save(), '')
})

t.test('beyond its size those go that were not here for longest', async (t) => {
  const keys = new SeenKeys(createSeenKeys())
  keys.add(key('often'), NOW_MS)
  for (let number = 0; number < 4 * MAX_SEEN_KEYS; number++) {
    const nowMs = NOW_MS + number * 1000
    keys.add(key(number), nowMs)
    if (number % 100 === 0) keys.add(key('often'), nowMs)
  }
  t.ok(keys.has(key('often')))
  t.notOk(keys.has(key(0)))
  t.ok(keys.has(key(4 * MAX_SEEN_KEYS - 1)))
  const kept = Buffer.from(keys.save(), 'base64').length / 32
  t.ok(kept <= MAX_SEEN_KEYS && kept > MAX_SEEN_KEYS / 2, `${kept}`)
})
