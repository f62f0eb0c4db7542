// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { isAhead, mergeStatus } from '../../../controller/status/merge-status.ts'
import type { StatusPatch, WantedCondition } from '../../../controller/status/status-patch.ts'
import { isMap } from '../../../controller/watch/value-mistakes.ts'

const NOW_MS = Date.UTC(2026, 5, 1, 12, 0, 0, 789)
const NOW = '2026-06-01T12:00:00Z'
const EARLIER = '2026-01-01T00:00:00Z'
const TYPE = 'sidestep.dev/Enforced'

const exact: WantedCondition = { type: TYPE, status: 'True', reason: 'Exact', message: 'by ztunnels' }
const written = { ...exact, observedGeneration: 2, lastTransitionTime: EARLIER }

function patch(extra: Partial<StatusPatch> = {}): StatusPatch {
  return {
    object: { group: 'security.istio.io', kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' },
    ...{
      apiVersion: 'security.istio.io/v1',
      uid: 'u',
      generation: 2,
      conditions: [exact],
      gateway: null,
      parents: null,
    },
    ...extra,
  }
}

t.test('a transition has its time, new words keep it', async (t) => {
  const cases: readonly (readonly [string, object, object, string])[] = [
    ['nothing there', {}, { ...exact, observedGeneration: 2, lastTransitionTime: NOW }, 'facts'],
    ['the same', written, written, 'none'],
    [
      'the generation as text',
      { ...written, observedGeneration: '2' },
      { ...written, observedGeneration: '2' },
      'none',
    ],
    ['other words', { ...written, message: 'x' }, written, 'words'],
    ['another reason', { ...written, reason: 'x' }, written, 'facts'],
    ['an older generation', { ...written, observedGeneration: 1 }, written, 'facts'],
    ['another status', { ...written, status: 'False' }, { ...written, lastTransitionTime: NOW }, 'facts'],
    [
      'no time',
      { ...written, message: 'x', lastTransitionTime: 7n },
      { ...written, lastTransitionTime: NOW },
      'words',
    ],
    [
      'a field of theirs',
      { ...written, message: 'x', lastProbeTime: null },
      { ...written, lastProbeTime: null },
      'words',
    ],
  ]
  for (const [name, before, after, change] of cases) {
    const conditions = Object.keys(before).length === 0 ? [] : [before]
    const merged = mergeStatus({ conditions }, patch(), NOW_MS)
    t.equal(merged.change, change, name)
    t.same(merged.status, { conditions: [after] }, name)
  }
})

t.test('a second condition of our type goes, others stay where they are', async (t) => {
  const other = { type: 'istio.io/ZtunnelAccepted', status: 'True', observedGeneration: '9' }
  const current = { validationMessages: [], conditions: [other, written, 'garbage', { ...written }, null] }
  const { status, change } = mergeStatus(current, patch(), NOW_MS)
  t.equal(change, 'facts')
  t.same(status, { validationMessages: [], conditions: [other, written, 'garbage', null] })
})

t.test('garbage instead of a status is replaced, field by field', async (t) => {
  const garbage = { conditions: 'x', addresses: 7, listeners: { name: 'mesh' }, attachedListenerSets: 3 }
  const gateway = {
    addresses: [{ type: 'IPAddress', value: '10.96.0.9' }],
    listeners: [{ name: 'mesh', conditions: [exact] }],
  }
  const { status, change } = mergeStatus(garbage, patch({ gateway }), NOW_MS)
  const fresh = { ...exact, observedGeneration: 2, lastTransitionTime: NOW }
  t.equal(change, 'facts')
  t.same(status, {
    conditions: [fresh],
    addresses: gateway.addresses,
    listeners: [{ name: 'mesh', supportedKinds: [], attachedRoutes: 0, conditions: [fresh] }],
    attachedListenerSets: 3,
  })
  t.equal(mergeStatus(status, patch({ gateway }), NOW_MS + 5000).change, 'none')
  const wordier = { ...gateway, listeners: [{ name: 'mesh', conditions: [{ ...exact, message: 'x' }] }] }
  t.equal(
    mergeStatus(status, patch({ gateway: wordier }), NOW_MS).change,
    'words',
    'a listener’s words are words',
  )
  const withoutService = mergeStatus(status, patch({ gateway: { ...gateway, addresses: null } }), NOW_MS)
  t.equal(withoutService.change, 'none', 'an address stays until there is another')
  const renamed = { ...gateway, listeners: [{ name: 'other', conditions: [exact] }] }
  t.equal(mergeStatus(status, patch({ gateway: renamed }), NOW_MS).change, 'facts')
  t.equal(mergeStatus(status, patch({ gateway: { ...gateway, listeners: [] } }), NOW_MS).change, 'facts')
})

t.test('whoever has read a later version is not contradicted', async (t) => {
  t.ok(isAhead({ conditions: [{ ...written, observedGeneration: 3 }] }, patch()))
  t.ok(isAhead({ conditions: [{ ...written, observedGeneration: '3' }] }, patch()))
  t.notOk(isAhead({ conditions: [written] }, patch()))
  t.notOk(isAhead({ conditions: [{ ...written, type: 'x', observedGeneration: 3 }] }, patch()))
  t.notOk(isAhead({ conditions: 'x' }, patch()))
})

const status = fc.constantFrom('True' as const, 'False' as const)
const wanted = fc.record({
  type: fc.constantFrom(TYPE, 'Accepted', 'Programmed'),
  ...{ status, reason: fc.constantFrom('A', 'B'), message: fc.constantFrom('', 'x', 'y') },
})
const patches = fc
  .record({
    conditions: fc.uniqueArray(wanted, { selector: ({ type }) => type, maxLength: 3 }),
    generation: fc.integer({ min: 0, max: 3 }),
    gateway: fc.option(
      fc.record({
        addresses: fc.option(
          fc.array(fc.record({ type: fc.constant('IPAddress'), value: fc.ipV4() }), { maxLength: 2 }),
        ),
        listeners: fc.uniqueArray(
          fc.record({
            name: fc.constantFrom('a', 'b', 'c'),
            conditions: fc.uniqueArray(wanted, { selector: ({ type }) => type, maxLength: 3 }),
          }),
          { selector: ({ name }) => name },
        ),
      }),
    ),
  })
  .map((each) => patch(each))
const anyCondition = fc.oneof(
  fc.record({
    type: fc.constantFrom(TYPE, 'Accepted', 'istio.io/X', '__proto__'),
    status: fc.constantFrom('True', 'False', 'Unknown'),
    reason: fc.constantFrom('A', 'B', ''),
    message: fc.constantFrom('', 'x'),
    observedGeneration: fc.constantFrom(0, 1, '2', null),
    lastTransitionTime: fc.constantFrom(EARLIER, 'never', 3),
  }),
  fc.jsonValue(),
)
const anyStatus = fc.dictionary(
  fc.constantFrom('conditions', 'addresses', 'listeners', 'other'),
  fc.oneof(fc.array(anyCondition, { maxLength: 6 }), fc.jsonValue()),
)

t.test('whatever stands there: others keep every byte, and twice is once', async (t) => {
  let changed = 0
  fc.assert(
    fc.property(anyStatus, patches, (current, patch) => {
      const before = JSON.stringify(current)
      const first = mergeStatus(current, patch, NOW_MS)
      const second = mergeStatus(first.status, patch, NOW_MS + 60_000)
      if (first.change !== 'none') changed++
      const ours = new Set<unknown>(patch.conditions.map(({ type }) => type))
      const foreign = (value: unknown): unknown[] =>
        (Array.isArray(value) ? value : []).filter((each) => !isMap(each) || !ours.has(each.type))
      const fields = (map: Readonly<Record<string, unknown>>): unknown =>
        Object.entries(map).filter(([key]) => !['conditions', 'addresses', 'listeners'].includes(key))
      return (
        second.change === 'none' &&
        JSON.stringify(second.status) === JSON.stringify(first.status) &&
        JSON.stringify(foreign(first.status.conditions)) === JSON.stringify(foreign(current.conditions)) &&
        JSON.stringify(fields(first.status)) === JSON.stringify(fields(current)) &&
        JSON.stringify(current) === before
      )
    }),
    { numRuns: 2000 },
  )
  t.ok(changed > 1000)
})
