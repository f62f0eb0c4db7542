// SPDX-License-Identifier: Apache-2.0
// What every KeyPicker promises: a key keeps its entry, entries have their shares, and who goes takes only its own keys along.
import fc from 'fast-check'
import type { Test } from 'tap'
import { hash32 } from '../../mesh/balance/hash.ts'
import type { KeyPicker } from '../../mesh/balance/key-picker.ts'
import type { Pickable } from '../../mesh/balance/picker.ts'

type Make = (list: readonly Pickable[]) => KeyPicker<Pickable>

export const entry = (uid: string, capacity = 1): Pickable => ({ uid, capacity, rank: 0 })
const KEYS = Array.from({ length: 4_000 }, (_, i) => hash32(`key ${i}`))
const isIn = (): boolean => false

function owners(picker: KeyPicker<Pickable>, isOut: (entry: Pickable) => boolean = isIn): string[] {
  return KEYS.map((key) => picker.pick(key, isOut)?.uid ?? 'nobody')
}

/** `spread`: how far a share may be from its weight; `moved`: part of the keys that may move although their entry stays. */
export async function keyPickerContract(
  t: Test,
  make: Make,
  bounds: { readonly spread: number; readonly moved: number },
): Promise<void> {
  const lists = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 8 }), { minLength: 2, maxLength: 12 })

  await t.test('the order of the list does not matter', async (t) => {
    const list = ['a', 'b', 'c', 'd'].map((uid) => entry(uid))
    t.same(owners(make(list)), owners(make([...list].reverse())))
  })

  await t.test('each has its share, by weight', async (t) => {
    const list = [entry('a', 1), entry('b', 2), entry('c', 1), entry('none', 0)]
    const found = owners(make(list))
    const share = (uid: string) => found.filter((each) => each === uid).length / KEYS.length
    t.ok(Math.abs(share('a') - 0.25) < bounds.spread, `a ${share('a')}`)
    t.ok(Math.abs(share('b') - 0.5) < bounds.spread, `b ${share('b')}`)
    t.equal(share('none'), 0)
  })

  await t.test('who goes leaves its keys to the others, and theirs stay', async (t) => {
    fc.assert(
      fc.property(lists, fc.nat(), (uids, at) => {
        const gone = uids[at % uids.length]
        const list = uids.map((uid) => entry(uid))
        const before = owners(make(list))
        const after = owners(make(list.filter(({ uid }) => uid !== gone)))
        const stayed = before.map((uid, key) => uid !== gone && after[key] !== uid).filter(Boolean).length
        const lost = before.filter((uid) => uid === gone).length
        return stayed <= bounds.moved * KEYS.length && lost < (2.2 / uids.length) * KEYS.length
      }),
      { numRuns: 15, seed: 7 },
    )
    t.pass()
  })

  await t.test(
    'while an entry is out its keys have one stand-in each, and nobody else is moved',
    async (t) => {
      fc.assert(
        fc.property(lists, fc.nat(), (uids, at) => {
          const out = uids[at % uids.length]
          const picker = make(uids.map((uid) => entry(uid)))
          const before = owners(picker)
          const after = owners(picker, ({ uid }) => uid === out)
          const again = owners(picker, ({ uid }) => uid === out)
          return before.every((uid, key) =>
            uid === out
              ? after[key] !== out && after[key] !== 'nobody' && after[key] === again[key]
              : after[key] === uid,
          )
        }),
        { numRuns: 15, seed: 7 },
      )
      t.pass()
    },
  )

  await t.test('an entry that alone is in is found for every key; none, and there is nobody', async (t) => {
    const picker = make(Array.from({ length: 50 }, (_, i) => entry(`e${i}`)))
    t.same([...new Set(owners(picker, ({ uid }) => uid !== 'e7'))], ['e7'])
    t.same([...new Set(owners(picker, () => true))], ['nobody'])
    t.same([...new Set(owners(make([])))], ['nobody'])
    t.same([...new Set(owners(make([entry('zero', 0)])))], ['nobody'])
    t.same([...new Set(owners(make([entry('only')])))], ['only'])
  })
}
