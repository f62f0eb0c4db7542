// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  createFileAtomically,
  openDirectoryKeyStore,
  readSecretFile,
} from '../../../controller/ca/key-store.ts'

t.test('a text is read as it was written, from one 0600 file', async (t) => {
  const directory = join(t.testdir(), 'keys')
  const store = openDirectoryKeyStore(directory)
  t.equal(await store.read('authority'), null)
  t.equal(await store.write('authority', 'one', null), true)
  const first = await store.read('authority')
  t.same(first, { text: 'one', version: '1' })
  t.equal(await store.write('authority', 'two', '1'), true)
  t.same(await openDirectoryKeyStore(directory).read('authority'), { text: 'two', version: '2' })
  t.same(readdirSync(directory), ['authority.2'], 'nothing else stays')
  t.equal(statSync(join(directory, 'authority.2')).mode & 0o777, 0o600)
  t.equal(statSync(directory).mode & 0o777, 0o700)
})

t.test('who has not read the newest does not write', async (t) => {
  const store = openDirectoryKeyStore(t.testdir())
  await store.write('authority', 'one', null)
  t.equal(await store.write('authority', 'again', null), false)
  await store.write('authority', 'two', '1')
  await store.write('authority', 'three', '2')
  t.equal(await store.write('authority', 'late', '1'), false, 'its number was free again')
  t.same(await store.read('authority'), { text: 'three', version: '3' })
})

t.test('of many writers each time exactly one wins, and readers never see a hole', async (t) => {
  const directory = t.testdir()
  const stores = Array.from({ length: 8 }, () => openDirectoryKeyStore(directory))
  for (let round = 0; round < 20; round++) {
    const version = round === 0 ? null : String(round)
    const [wins, reads] = await Promise.all([
      Promise.all(stores.map((store, index) => store.write('state', `${round}.${index}`, version))),
      Promise.all(stores.map((store) => store.read('state'))),
    ])
    t.equal(wins.filter(Boolean).length, 1)
    if (round > 0) t.ok(reads.every((read) => read !== null))
    const now = await stores[0]?.read('state')
    t.equal(now?.text, `${round}.${wins.indexOf(true)}`)
  }
})

t.test('what others may read, or we may not, is refused', async (t) => {
  const directory = t.testdir()
  const store = openDirectoryKeyStore(directory)
  await store.write('authority', 'secret', null)
  for (const mode of [0o644, 0o640, 0o604, 0o602]) {
    chmodSync(join(directory, 'authority.1'), mode)
    await t.rejects(store.read('authority'), { code: 'CA_KEY' }, mode.toString(8))
  }
  t.equal(await readSecretFile(join(directory, 'absent')), null)
  const notADirectory = join(directory, 'file')
  writeFileSync(notADirectory, '')
  await t.rejects(readSecretFile(join(notADirectory, 'x')), { code: 'SYSTEM_CALL' })
  await t.rejects(openDirectoryKeyStore(notADirectory).read('authority'), { code: 'SYSTEM_CALL' })
})

t.test('a name is no path', async (t) => {
  const store = openDirectoryKeyStore(t.testdir())
  await t.rejects(store.read('../authority'), { code: 'INTERNAL' })
  await t.rejects(store.write('a.b', '', null), { code: 'INTERNAL' })
})

t.test('a file is whole or not there', async (t) => {
  const directory = t.testdir()
  const path = join(directory, 'f')
  const made = await Promise.all(
    Array.from({ length: 8 }, (_, index) => createFileAtomically(path, `${index}`)),
  )
  t.equal(made.filter(Boolean).length, 1)
  t.equal(await readSecretFile(path), String(made.indexOf(true)))
  t.same(readdirSync(directory), ['f'], 'no temporary file stays')
  await t.rejects(createFileAtomically(join(directory, 'none', 'f'), ''), { code: 'SYSTEM_CALL' })
})
