// SPDX-License-Identifier: Apache-2.0
// The journal: what is read at the next start is what was appended, whatever the disk does in between.
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { ADDRESS_TYPE } from '../../../mesh/discovery/protocol.ts'
import { compactJournal } from '../../../mesh/snapshot/compact-journal.ts'
import { ModelJournal } from '../../../mesh/snapshot/model-journal.ts'
import type { SealedPlace } from '../../../mesh/snapshot/read-frames.ts'
import { MAX_SNAPSHOT_AGE_MS } from '../../../mesh/snapshot/snapshot-age.ts'
import { DeltaDiscoveryResponseSchema } from '../../../proto/generated/envoy/discovery_pb.js'
import { AddressSchema } from '../../../proto/generated/istio/workload_pb.js'
import { ManualClock } from '../../support/manual-clock.ts'
import { workload } from '../../support/published.ts'

function response(name: string, version = '1', size = 0): Buffer {
  const value = workload(`shop/${name}`)
  value.hostname = 'x'.repeat(size)
  const bytes = toBinary(AddressSchema, create(AddressSchema, { type: { case: 'workload', value } }))
  const resources = [{ name, version, resource: { typeUrl: ADDRESS_TYPE, value: bytes } }]
  return Buffer.from(
    toBinary(
      DeltaDiscoveryResponseSchema,
      create(DeltaDiscoveryResponseSchema, { typeUrl: ADDRESS_TYPE, resources }),
    ),
  )
}

/** Runs of one node, one after the other. */
function setUp(t: Test) {
  const directory = join(t.testdir(), 'state')
  const path = join(directory, 'model.journal')
  const clock = new ManualClock()
  const logged: { readonly reason?: string; readonly msg: string }[] = []
  const log = pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) })
  const compactions: SealedPlace[] = []
  const open = (): ModelJournal => {
    const journal = new ModelJournal({
      place: async () => {
        await mkdir(directory, { recursive: true })
        const owner = { trustDomain: 'd', clusterId: 'c', nodeName: 'n' }
        return { path, key: Buffer.alloc(32, 3), purpose: 'model', owner }
      },
      compact: (place, mac) => {
        compactions.push(place)
        return compactJournal(place, mac)
      },
      ...{ clock, log },
    })
    t.teardown(() => journal.close())
    return journal
  }
  /** What the next run reads: versions by name, in their order; null when it may not use it. */
  const read = async (journal = open()): Promise<{ names: string[]; savedMs: number | null }> => {
    const names: string[] = []
    const savedMs = await journal.read((bytes) => {
      for (const { name, version } of fromBinary(DeltaDiscoveryResponseSchema, bytes).resources)
        names.push(`${name}@${version}`)
    })
    return { names, savedMs }
  }
  return { directory, path, clock, logged, open, read, compactions }
}

t.test('what is appended is there at the next start, and the one after that', async (t) => {
  const { open, read, clock, directory, logged } = setUp(t)
  const first = open()
  t.same(await read(first), { names: [], savedMs: null })
  for (const name of ['a', 'b']) first.append(response(name))
  clock.advance(5000)
  first.append(response('a', '2'))
  const lastMs = clock.nowMs
  await first.close()
  clock.advance(5000)
  const second = open()
  t.same(await read(second), { names: ['a@1', 'b@1', 'a@2'], savedMs: lastMs })
  clock.advance(5000)
  second.append(response('c'))
  await second.close()
  t.same((await read()).names, ['a@2', 'b@1', 'c@1'], 'a start leaves out what is over')
  t.same(readdirSync(directory), ['model.journal'])
  t.equal(statSync(join(directory, 'model.journal')).mode & 0o777, 0o600)
  t.same(logged, [])
})

t.test('while a controller is there the journal does not age; a week without one is too much', async (t) => {
  const { open, read, clock, logged } = setUp(t)
  const journal = open()
  journal.append(response('a'))
  journal.setConfirmed(true)
  for (let day = 0; day < 20; day++) {
    clock.advance(24 * 3_600_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const confirmedMs = clock.nowMs
  journal.setConfirmed(false)
  clock.advance(24 * 3_600_000)
  await journal.close()
  t.same(await read(), { names: ['a@1'], savedMs: confirmedMs })
  clock.jump(MAX_SNAPSHOT_AGE_MS - 24 * 3_600_000)
  t.equal((await read()).savedMs, confirmedMs)
  clock.jump(1)
  t.equal((await read()).savedMs, null)
  t.equal(logged.at(-1)?.reason, 'SNAPSHOT_TOO_OLD')
})

t.test('a clock that was set back: it is used, and said', async (t) => {
  const { open, read, clock, logged } = setUp(t)
  const journal = open()
  journal.append(response('a'))
  await journal.close()
  clock.jump(-40 * 365 * 24 * 3_600_000)
  t.same((await read()).names, ['a@1'])
  t.match(logged.at(-1)?.msg, /from the future/)
})

t.test('what was tampered with is refused by its reason, and replaced by what comes', async (t) => {
  const { open, read, path, logged } = setUp(t)
  const first = open()
  for (const name of ['a', 'b', 'c']) first.append(response(name))
  await first.close()
  const bytes = readFileSync(path)
  bytes[200] = (bytes[200] ?? 0) ^ 4
  writeFileSync(path, bytes)
  const second = open()
  t.equal((await read(second)).savedMs, null)
  t.equal(logged.at(-1)?.reason, 'SNAPSHOT_INVALID')
  second.append(response('d'))
  await second.close()
  t.same((await read()).names, ['d@1'])
})

t.test('a reader that stumbles, as of an older format of resources, refuses it', async (t) => {
  const { open, logged } = setUp(t)
  const first = open()
  first.append(response('a'))
  await first.close()
  const savedMs = await open().read(() => {
    throw new Error('what is this?')
  })
  t.equal(savedMs, null)
  t.equal(logged.at(-1)?.reason, 'SNAPSHOT_INVALID')
})

t.test('what a crash tore off is dropped, what comes afterwards is read', async (t) => {
  const { open, read, path } = setUp(t)
  const first = open()
  first.append(response('a'))
  await first.close()
  appendFileSync(path, Buffer.from([0, 0, 0, 99, 2, 1, 2]))
  const second = open()
  t.same((await read(second)).names, ['a@1'])
  second.append(response('b'))
  await second.close()
  t.same((await read()).names, ['a@1', 'b@1'])
})

t.test('it is compacted when it has doubled, and goes on', async (t) => {
  const { open, read, path, compactions, directory } = setUp(t)
  const journal = open()
  for (let version = 0; version < 80; version++) {
    journal.append(response('big', String(version), 50_000))
    if (version % 10 === 9) while (journal.isWriting) await new Promise((resolve) => setImmediate(resolve))
  }
  journal.append(response('last'))
  await journal.close()
  t.ok(compactions.length > 0)
  t.ok(statSync(path).size < 2_000_000)
  const { names } = await read()
  t.same(names.slice(-2), ['big@79', 'last@1'])
  t.same(readdirSync(directory), ['model.journal'])
})

t.test('a disk that takes nothing: told once, tried again, nothing is lost', async (t) => {
  const { open, read, clock, logged, directory } = setUp(t)
  writeFileSync(directory, 'in the way')
  const journal = open()
  const settled = async (): Promise<void> => {
    while (journal.isWriting) await new Promise((resolve) => setImmediate(resolve))
  }
  for (const name of ['a', 'b', 'c']) {
    journal.append(response(name))
    await settled()
    clock.advance(10_000)
    await settled()
  }
  t.same(
    logged.map(({ reason }) => reason),
    ['SNAPSHOT_NOT_SAVED'],
  )
  await rm(directory)
  clock.advance(10_000)
  await settled()
  t.match(logged.at(-1)?.msg, /saves again/)
  await journal.close()
  t.same((await read()).names, ['a@1', 'b@1', 'c@1'])
})

t.test('more than may wait for a disk: it stays behind and says so; what is there stays true', async (t) => {
  const { open, read, logged, directory, path } = setUp(t)
  const first = open()
  first.append(response('old'))
  await first.close()
  const journal = open()
  await read(journal)
  rmSync(path)
  writeFileSync(`${directory}-x`, '')
  for (let index = 0; index < 12; index++) journal.append(response(`n${index}`, '1', 4_000_000))
  t.match(logged.at(-1), { reason: 'SNAPSHOT_NOT_SAVED', why: 'too much waits for the disk' })
  await journal.close()
  t.notOk(existsSync(path))
})

t.test('the file of a newer process is left alone', async (t) => {
  const { open, read, logged } = setUp(t)
  const older = open()
  older.append(response('a', '1', 1_500_000))
  while (older.isWriting) await new Promise((resolve) => setImmediate(resolve))
  const newer = open()
  await read(newer)
  newer.append(response('b'))
  while (newer.isWriting) await new Promise((resolve) => setImmediate(resolve))
  for (let version = 2; version < 6; version++) older.append(response('a', String(version), 1_500_000))
  await older.close()
  t.match(logged.at(-1), { reason: 'SNAPSHOT_NOT_SAVED', why: 'another process of this node keeps it' })
  await newer.close()
  t.same((await read()).names, ['a@1', 'b@1'])
})
