// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Fields } from '../../../../controller/translate/fields.ts'
import { Notes } from '../../../../controller/translate/notes.ts'
import {
  durationMs,
  gatewayDuration,
  istioDuration,
  percentMillionths,
  regexOf,
  shareThousandths,
} from '../../../../controller/translate/routes/route-values.ts'
import { toObject } from '../../../support/yaml-objects.ts'

const object = toObject({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'a', namespace: 'b' } })

/** What is read of `x`, and how many mistakes were found. */
function read<T>(value: unknown, reading: (fields: Fields) => T): [T, number] {
  const notes = new Notes(object)
  return [reading(new Fields({ x: value }, 'spec', notes)), notes.errors]
}

t.test('durations are read as each API writes them', async (t) => {
  for (const [text, gateway, istio] of [
    ['1h30m', 5_400_000, 5_400_000],
    ['0s', 0, 0],
    ['250ms', 250, 250],
    ['1.5s', null, 1500],
    ['100us', null, 0.1],
    ['1', null, null],
    ['-1s', null, null],
    ['999999s', null, 999_999_000],
    ['s', null, null],
  ] as const) {
    const expected = (wanted: number | null): [number, number] => [wanted ?? 0, wanted === null ? 1 : 0]
    const gatewayMs = read(text, (fields) => durationMs(gatewayDuration(fields, 'x')))
    t.same(gatewayMs, expected(gateway), `gateway ${text}`)
    const istioMs = read(text, (fields) => durationMs(istioDuration(fields, 'x')))
    t.same(istioMs, expected(istio), `istio ${text}`)
  }
})

t.test('shares of a split are whole numbers or thousandths', async (t) => {
  for (const [share, thousandths] of [
    ['900m', 900],
    [1, 1000],
    ['2', 2000],
    [0, 0],
  ])
    t.equal(shareThousandths(share), thousandths)
  for (const none of ['1.5', '-1', 'm', null, 1e12, 0.5]) t.equal(shareThousandths(none), undefined)
})

t.test('per cent are numbers from 0 to 100', async (t) => {
  const percent = (value: unknown): [number | null, number] =>
    read(value, (fields) => percentMillionths(fields, 'x'))
  t.same(percent({ value: 12.5 }), [125_000, 0])
  t.same(percent({}), [0, 0])
  t.same(percent(undefined), [null, 0])
  for (const wrong of [-1, 101, '5', Number.NaN]) t.same(percent({ value: wrong }), [null, 1])
})

t.test('expressions are those of RE2, and not longer than anybody reads', async (t) => {
  const regex = (value: string): [string | undefined, number] => read(value, (fields) => regexOf(fields, 'x'))
  t.same(regex('/v[0-9]+'), ['/v[0-9]+', 0])
  for (const wrong of ['(', '(?=a)', 'a'.repeat(4_097)]) t.same(regex(wrong), [undefined, 1])
})
