// SPDX-License-Identifier: Apache-2.0
// How a run joins the runs before it.
import t from 'tap'
import { mergeResults, publicReason } from '../../bench/results.ts'
import { results, row } from '../support/bench-results.ts'

t.test('a partial run replaces its rows and keeps the others', (t) => {
  const known = results({
    requests: { sidestep: row('a', [{ x: 1 }]), envoy: row('a', [{ x: 2 }]) },
    bulk: { sidestep: row('a', [{ y: 1 }]) },
  })
  const merged = mergeResults(known, results({ requests: { sidestep: row('b', [{ x: 3 }]) } }))
  t.equal(merged.questions.requests?.sidestep?.run, 'b')
  t.equal(merged.questions.requests?.envoy?.run, 'a')
  t.equal(merged.questions.bulk?.sidestep?.run, 'a')
  t.end()
})

t.test('what was measured on another machine is dropped', (t) => {
  const known = results({ bulk: { sidestep: row('a', [{ y: 1 }]) } }, 'Model 2')
  t.same(Object.keys(mergeResults(known, results({ requests: {} })).questions), ['requests'])
  t.end()
})

t.test('the first run stands as it is', (t) => {
  const fresh = results({ requests: { direct: row('a', [{ x: 1 }]) } })
  t.same(mergeResults(null, fresh), fresh)
  t.end()
})

t.test('subjects are described by the latest run that had them', (t) => {
  const known = { ...results({}), subjects: { envoy: { version: '1', settings: 'x', isMissing: false } } }
  const merged = mergeResults(known, results({}))
  t.same(Object.keys(merged.subjects).sort(), ['envoy', 'sidestep'])
  t.end()
})

t.test('a reason is one line without paths', (t) => {
  t.equal(publicReason('ENVOY_BIN: there is no /opt/envoy\nat x'), 'ENVOY_BIN: there is no …')
  t.equal(
    publicReason("no '/opt/a/b.sock': 10.2.0.1:80/tcp, 3 of 5/s\nmore"),
    "no '…': 10.2.0.1:80/tcp, 3 of 5/s",
  )
  t.equal(publicReason('x'.repeat(500)).length, 200)
  t.end()
})

t.test('a subject that is no longer at hand keeps the description of its rows', (t) => {
  const described = (version: string, isMissing: boolean) => ({
    ...results({}),
    subjects: { ztunnel: { version, settings: 'x', isMissing } },
  })
  const version = (known: boolean, fresh: boolean): string | undefined =>
    mergeResults(described('known', known), described('fresh', fresh)).subjects.ztunnel?.version
  t.equal(version(false, true), 'known')
  t.equal(version(true, true), 'fresh')
  t.equal(version(true, false), 'fresh')
  t.equal(version(false, false), 'fresh')
  t.end()
})
