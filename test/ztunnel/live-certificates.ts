// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { compareCertificates, LIVE_GRACE_MS, type LiveCertificates } from '../../ztunnel/live-certificates.ts'

const stored = (serialNumber: string): Map<string, string> => new Map([['cart', serialNumber]])
const live = (worker: number, serialNumber: string | null): LiveCertificates => ({
  worker,
  serialNumbers: new Map(serialNumber === null ? [] : [['cart', serialNumber]]),
})

t.test('equal is no difference, whatever else a worker holds', async (t) => {
  const extra = { worker: 1, serialNumbers: new Map([...stored('7'), ['gone', '1']]) }
  t.same(compareCertificates([], stored('7'), [live(0, '7'), extra], 0), [])
})

t.test('a difference is an alarm when it has stayed, and is over when they are equal', async (t) => {
  const seen = compareCertificates([], stored('8'), [live(0, '8'), live(1, '7')], 1000)
  const found = { worker: 1, identity: 'cart', stored: '8', live: '7', sinceMs: 1000, isAlarm: false }
  t.same(seen, [found])
  const later = compareCertificates(seen, stored('8'), [live(0, '8'), live(1, '7')], 999 + LIVE_GRACE_MS)
  t.same(later, [found])
  const stayed = compareCertificates(later, stored('8'), [live(0, '8'), live(1, '7')], 1000 + LIVE_GRACE_MS)
  t.same(stayed, [{ ...found, isAlarm: true }])
  t.same(compareCertificates(stayed, stored('8'), [live(0, '8'), live(1, '8')], 99_999), [])
})

t.test('a worker without any is one that differs', async (t) => {
  const [found] = compareCertificates([], stored('8'), [live(0, null)], 0)
  t.match(found, { stored: '8', live: '' })
})

t.test('renewals meanwhile do not reset the time of a worker that takes none', async (t) => {
  const first = compareCertificates([], stored('8'), [live(0, '7')], 0)
  const second = compareCertificates(first, stored('9'), [live(0, '7')], LIVE_GRACE_MS)
  t.match(second[0], { stored: '9', live: '7', sinceMs: 0, isAlarm: true })
})

t.test('a silent worker keeps what was known of it; a forgotten identity is nobody’s trouble', async (t) => {
  const first = compareCertificates([], stored('8'), [live(0, '7'), live(1, '7')], 0)
  const silent = compareCertificates(first, stored('8'), [live(1, '8')], LIVE_GRACE_MS)
  t.match(silent, [{ worker: 0, isAlarm: true }])
  t.equal(silent.length, 1)
  t.same(compareCertificates(silent, new Map(), [live(1, '8')], LIVE_GRACE_MS), [])
})
