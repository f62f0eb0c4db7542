// SPDX-License-Identifier: Apache-2.0
// A small document: read at the start, written some time after a change, tried again when the disk takes nothing.
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { SavedDocument } from '../../../mesh/snapshot/saved-document.ts'
import { ManualClock } from '../../support/manual-clock.ts'

function setUp(t: Test) {
  const path = join(t.testdir(), 'pods.sealed')
  const clock = new ManualClock()
  const logged: { readonly reason?: string; readonly msg: string }[] = []
  let content: unknown = 'nothing'
  const owner = { trustDomain: 'd', clusterId: 'c', nodeName: 'n' }
  const document = new SavedDocument({
    what: 'pods',
    place: async () => ({ path, key: Buffer.alloc(32, 1), purpose: 'pods', owner }),
    content: () => content,
    clock,
    log: pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) }),
  })
  const set = (value: unknown): void => {
    content = value
    document.changed()
  }
  /** Time passes, and what began in it is done. */
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms)
    while (document.isWriting) await new Promise((resolve) => setImmediate(resolve))
  }
  return { path, clock, logged, document, set, pass }
}

t.test('many changes are one write, of the last', async (t) => {
  const { path, document, set, pass, clock } = setUp(t)
  t.equal(await document.load(), null)
  for (let number = 0; number < 100; number++) set({ number })
  await pass(200)
  t.same((await document.load())?.content, { number: 99 })
  t.equal((await document.load())?.savedMs, clock.nowMs)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(clock.pendingCount, 0)
})

t.test('what says the same is not written again', async (t) => {
  const { path, set, pass } = setUp(t)
  set('same')
  await pass(200)
  const { ino } = statSync(path)
  set('same')
  await pass(200)
  t.equal(statSync(path).ino, ino)
  set('other')
  await pass(200)
  t.not(statSync(path).ino, ino)
})

t.test('what is due at the end is written at the end', async (t) => {
  const { document, set } = setUp(t)
  set('last words')
  await document.close()
  t.equal((await document.load())?.content, 'last words')
})

t.test('a disk that takes nothing: told once, tried again, told once', async (t) => {
  const { path, document, set, pass, logged } = setUp(t)
  mkdirSync(path)
  set('first')
  await pass(200)
  set('second')
  await pass(10_000)
  await pass(10_000)
  t.same(
    logged.map(({ reason }) => reason),
    ['SNAPSHOT_NOT_SAVED'],
  )
  t.same(readdirSync(join(path, '..')), ['pods.sealed'], 'no file is left beside it')
  rmdirSync(path)
  await pass(10_000)
  t.equal((await document.load())?.content, 'second')
  t.match(logged.at(-1)?.msg, /saves again/)
})

t.test('one that is torn, changed or open to others is not used, by its reason', async (t) => {
  const { path, document, set, pass, logged } = setUp(t)
  set('good')
  await pass(200)
  const good = readFileSync(path)
  for (const [bytes, mode, reason] of [
    [good.subarray(0, -1), 0o600, 'SNAPSHOT_INVALID'],
    [Buffer.from(good).fill(1, 30, 31), 0o600, 'SNAPSHOT_INVALID'],
    [good, 0o640, 'SNAPSHOT_PERMISSIONS'],
  ] as const) {
    writeFileSync(path, bytes)
    chmodSync(path, mode)
    t.equal(await document.load(), null)
    t.equal(logged.at(-1)?.reason, reason)
    chmodSync(path, 0o600)
  }
})

t.test('what a writer that was killed left beside it is removed', async (t) => {
  const { path, document } = setUp(t)
  writeFileSync(`${path}.0b9c`, 'half')
  t.equal(await document.load(), null)
  t.same(readdirSync(join(path, '..')), [])
})

t.test('what another process has written is known as foreign until it is read', async (t) => {
  const one = setUp(t)
  t.equal(await one.document.isForeign(), false, 'nothing is there')
  one.set('mine')
  await one.document.flush()
  t.equal(await one.document.isForeign(), false)
  writeFileSync(`${one.path}.new`, readFileSync(one.path), { mode: 0o600 })
  renameSync(`${one.path}.new`, one.path)
  t.equal(await one.document.isForeign(), true)
  t.same((await one.document.load())?.content, 'mine')
  t.equal(await one.document.isForeign(), false)
})

t.test('flush does not wait, and leaves no timer', async (t) => {
  const { document, set, clock } = setUp(t)
  set('now')
  await document.flush()
  t.same((await document.load())?.content, 'now')
  t.equal(clock.pendingCount, 0)
})

t.test('only the first look removes what lies beside', async (t) => {
  const { path, document } = setUp(t)
  await document.load()
  writeFileSync(`${path}.of-another`, 'half written')
  await document.load()
  t.same(readFileSync(`${path}.of-another`, 'utf8'), 'half written')
})
