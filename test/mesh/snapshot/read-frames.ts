// SPDX-License-Identifier: Apache-2.0
// A sealed file under every kind of damage: what is read is a true beginning, or it is refused.
import { chmodSync, readFileSync, renameSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { readFrames, type SealedPlace } from '../../../mesh/snapshot/read-frames.ts'
import { writeSealed } from '../../../mesh/snapshot/write-sealed.ts'

t.setTimeout(60_000)

const OWNER = { trustDomain: 'cluster.local', clusterId: 'one', nodeName: 'n1' }
const TEXTS = ['one', 'two two', '', 'four', 'the fifth and last']

function placeOf(t: Test): SealedPlace {
  return { path: join(t.testdir(), 'file'), key: Buffer.alloc(32, 1), purpose: 'model', owner: OWNER }
}

async function write(place: SealedPlace, texts: readonly string[] = TEXTS): Promise<Buffer> {
  const frames = texts.map((text) => ({ kind: 'content' as const, timeMs: 5, payload: Buffer.from(text) }))
  await writeSealed(place, 5, frames)
  return readFileSync(place.path)
}

/** The texts that are read, or the reason code. */
async function read(place: SealedPlace): Promise<string[] | string> {
  const texts: string[] = []
  try {
    for await (const { kind, payload } of readFrames(place))
      if (kind === 'content') texts.push(String(payload))
    return texts
  } catch (error) {
    return error instanceof MeshError ? error.code : String(error)
  }
}

const isBeginning = (texts: readonly string[]): boolean => texts.every((text, index) => text === TEXTS[index])

t.test('what was written is read', async (t) => {
  const place = placeOf(t)
  await write(place)
  t.same(await read(place), TEXTS)
})

t.test('torn at any byte: a true beginning, with every frame that is whole', async (t) => {
  const place = placeOf(t)
  const whole = await write(place)
  let before = 0
  for (let length = 1; length <= whole.length; length++) {
    writeFileSync(place.path, whole.subarray(0, length))
    const texts = await read(place)
    if (typeof texts === 'string') {
      t.equal(texts, 'SNAPSHOT_INVALID', `${length}`)
      t.equal(before, 0, 'once there is a header it is never refused')
    } else {
      if (!isBeginning(texts) || texts.length < before) t.fail(`${length}: ${texts.join()}`)
      before = texts.length
    }
  }
  t.equal(before, TEXTS.length)
})

t.test('a tail of zeros, as a power cut leaves it, is dropped', async (t) => {
  const place = placeOf(t)
  const whole = await write(place)
  for (const keep of [whole.length, whole.length - 10, whole.length - 60]) {
    writeFileSync(place.path, Buffer.concat([whole.subarray(0, keep), Buffer.alloc(5000)]))
    const texts = await read(place)
    t.ok(typeof texts !== 'string' && isBeginning(texts) && texts.length >= 3, `${keep}`)
  }
})

t.test('a flipped bit anywhere: a true beginning or refused, never all of it', async (t) => {
  const place = placeOf(t)
  const whole = await write(place)
  let refused = 0
  for (let position = 0; position < whole.length; position++) {
    const bytes = Buffer.from(whole)
    bytes[position] = (bytes[position] ?? 0) ^ (1 << (position % 8))
    writeFileSync(place.path, bytes)
    const texts = await read(place)
    if (typeof texts === 'string') refused++
    else if (!isBeginning(texts) || texts.length === TEXTS.length) t.fail(`${position}: ${texts.join()}`)
  }
  t.ok(refused > whole.length / 2)
})

t.test('pieces cut out, doubled or put in another order', async (t) => {
  const place = placeOf(t)
  const whole = await write(place)
  const place3 = fc.tuple(fc.nat(whole.length), fc.nat(whole.length), fc.nat(whole.length))
  await fc.assert(
    fc.asyncProperty(place3, async (numbers) => {
      const [a = 0, b = 0, c = 0] = numbers.toSorted((left, right) => left - right)
      const pieces = [whole.subarray(0, a), whole.subarray(b, c), whole.subarray(a, b), whole.subarray(c)]
      for (const order of [pieces, [pieces[0], pieces[3]], [pieces[0], pieces[1], pieces[1], pieces[3]]]) {
        const bytes = Buffer.concat(order.filter((piece) => piece !== undefined))
        if (bytes.subarray(0, whole.length).equals(whole)) continue
        writeFileSync(place.path, bytes)
        const texts = await read(place)
        if (typeof texts !== 'string' && !isBeginning(texts)) t.fail(texts.join())
      }
    }),
    { numRuns: 200 },
  )
})

t.test('whole frames cut out, doubled or put in another order', async (t) => {
  const place = placeOf(t)
  const whole = await write(place)
  const ends: number[] = [0]
  for await (const { end } of readFrames(place)) ends.push(end)
  const frames = ends.slice(1).map((end, index) => whole.subarray(ends[index], end))
  t.equal(frames.length, TEXTS.length + 1)
  const order = fc.array(fc.nat(TEXTS.length), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(order, async (numbers) => {
      const inOrder = numbers.findIndex((number, index) => number !== index)
      writeFileSync(place.path, Buffer.concat(numbers.map((number) => frames[number] ?? whole)))
      const texts = await read(place)
      // The beginning that is in order may be read; with something behind it that is not, only its last frame is doubted.
      const trueLength = Math.max(0, (inOrder < 0 ? numbers.length : inOrder) - 1)
      if (typeof texts !== 'string') t.ok(isBeginning(texts) && texts.length <= trueLength, numbers.join())
      else t.not(inOrder < 0 && numbers.length > 0, true, numbers.join())
    }),
    {
      numRuns: 300,
      examples: [[[0, 2]], [[0, 1, 3, 4, 5]], [[0, 1, 3, 2, 4, 5]], [[0, 1, 1, 2, 3]], [[1, 2, 3]]],
    },
  )
})

t.test('a file of another node, purpose or key, and one that is none', async (t) => {
  const place = placeOf(t)
  const whole = await write(place)
  t.equal(await read({ ...place, owner: { ...OWNER, nodeName: 'n2' } }), 'SNAPSHOT_INVALID')
  t.equal(await read({ ...place, purpose: 'pods' }), 'SNAPSHOT_INVALID')
  t.equal(await read({ ...place, key: Buffer.alloc(32, 2) }), 'SNAPSHOT_INVALID')
  const other = { ...place, path: `${place.path}-other` }
  await write(other, ['x', 'y'])
  const half = readFileSync(other.path)
  writeFileSync(place.path, Buffer.concat([whole, half]))
  t.equal(await read(place), 'SNAPSHOT_INVALID', 'two files in a row')
  for (const garbage of ['', 'garbage', `${'\u0001'.repeat(4000)}`, '\0'.repeat(400)]) {
    writeFileSync(place.path, garbage)
    t.equal(await read(place), 'SNAPSHOT_INVALID')
  }
  await t.rejects(readFrames({ ...place, path: `${place.path}-none` }).next(), { code: 'ENOENT' })
})

t.test('a file that others may read, and a link, are refused', async (t) => {
  const place = placeOf(t)
  await write(place)
  chmodSync(place.path, 0o644)
  t.equal(await read(place), 'SNAPSHOT_PERMISSIONS')
  chmodSync(place.path, 0o600)
  renameSync(place.path, `${place.path}-real`)
  symlinkSync(`${place.path}-real`, place.path)
  await t.rejects(readFrames(place).next(), { code: 'ELOOP' })
})

t.test('a file that is too long is not read at all', async (t) => {
  const place = placeOf(t)
  await write(place)
  truncateSync(place.path, 1024 * 1024 * 1024)
  t.same(await read(place), TEXTS, 'as long as it may be, and torn')
  truncateSync(place.path, 1024 * 1024 * 1024 + 1)
  t.equal(await read(place), 'SNAPSHOT_INVALID')
})
