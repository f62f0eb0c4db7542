// SPDX-License-Identifier: Apache-2.0
// With real processes: test/netns/ztunnel-generations.ts.
import t from 'tap'
import type { DataMessage } from '../../../mesh/generations/pods.ts'
import { Upgrades } from '../../../mesh/generations/upgrades.ts'

t.test('who wants an upgrade hears whether it has begun, each his own answer', async (t) => {
  const sent: DataMessage[] = []
  const upgrades = new Upgrades((message) => sent.push(message))
  const [first, second] = [upgrades.ask(), upgrades.ask()]
  t.same(sent, [{ type: 'upgrade' }, { type: 'upgrade' }])
  upgrades.onMessage({ type: 'upgrade-answer', refusal: null })
  upgrades.onMessage({ type: 'upgrade-answer', refusal: 'an upgrade is under way' })
  t.same(await Promise.all([first, second]), [null, 'an upgrade is under way'])
  upgrades.onMessage({ type: 'upgrade-answer', refusal: null }) // nobody asked
})

t.test('a supervisor that is silent is a refusal', async (t) => {
  const upgrades = new Upgrades(() => {})
  t.match(await upgrades.ask(), /does not answer/)
})

t.test('what the supervisor counts is kept', async (t) => {
  const upgrades = new Upgrades(() => {})
  t.same(upgrades.counts, { draining: 0, lost: 0, failed: 0 })
  upgrades.onMessage({ type: 'generations', draining: 2, lost: 1, failed: 3 })
  t.same(upgrades.counts, { draining: 2, lost: 1, failed: 3 })
})
