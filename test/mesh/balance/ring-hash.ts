// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { RingHash } from '../../../mesh/balance/ring-hash.ts'
import { entry, keyPickerContract } from '../../support/key-picker-contract.ts'

t.test('a ring keeps what a key picker promises', async (t) => {
  await keyPickerContract(t, (list) => new RingHash(list, 1_024), { spread: 0.05, moved: 0 })
})

t.test('as many entries as a mesh has, and more points than there is room for', async (t) => {
  const list = Array.from({ length: 5_000 }, (_, i) => entry(`e${i}`))
  const ring = new RingHash(list, 2_000_000_000)
  const found = new Set<string>()
  for (let i = 0; i < 60_000; i++) found.add(ring.pick((i * 71_583) >>> 0, () => false)?.uid ?? 'nobody')
  t.ok(found.size > 4_500, `${found.size} of 5,000 were found`)
  t.notOk(found.has('nobody'))
})

t.test('a key beyond the last point belongs to the first', async (t) => {
  const ring = new RingHash([entry('a'), entry('b')], 1)
  t.not(
    ring.pick(0xffff_ffff, () => false),
    null,
  )
  t.equal(
    ring.pick(0xffff_ffff, () => false),
    ring.pick(0, () => false),
  )
})
