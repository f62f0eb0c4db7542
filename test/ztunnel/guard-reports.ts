// SPDX-License-Identifier: Apache-2.0
// What the data process says and books of the guard; with real processes: test/netns/ztunnel-guard.ts.
import t from 'tap'
import { EMPTY_MATCH, type Policy } from '../../mesh/model/policy.ts'
import { ALL_PORTS, NO_PORTS } from '../../mesh/net/port-set.ts'
import { GuardReports } from '../../ztunnel/guard-reports.ts'

const STRICT: Policy = {
  ...{ name: 'strict', namespace: 'shop', scope: 'Namespace', action: 'Deny', dryRun: false },
  rules: [[[{ ...EMPTY_MATCH, notPrincipals: [{ kind: 'presence' }] }]]],
}
const ENDS = { source: { ip: '10.1.0.3', port: 40_000 }, destination: { ip: '10.2.0.1', port: 80 } }

function openReports() {
  const sent: unknown[] = []
  const posted: unknown[] = []
  const reports = new GuardReports({
    send: (message) => sent.push(message),
    post: (message) => posted.push(message),
  })
  return { reports, sent, posted }
}

t.test('what is closed is said of every pod once, and when it changes', async (t) => {
  const { reports, sent } = openReports()
  t.equal(reports.told('a'), null)
  reports.describe('a', [])
  reports.describe('a', [])
  reports.describe('a', [STRICT])
  reports.describe('b', [STRICT])
  const said = (uid: string, ports: object) => ({ type: 'closed-ports', uid, ports })
  t.same(sent, [said('a', NO_PORTS), said('a', ALL_PORTS), said('b', ALL_PORTS)])
  t.same(reports.told('a'), ALL_PORTS)
  reports.forget('a')
  t.equal(reports.told('a'), null)
  reports.describe('a', [STRICT])
  t.equal(sent.length, 4, 'a pod that comes again is a new one')
})

t.test('refusals are booked for pods that are served', async (t) => {
  const { reports, posted } = openReports()
  reports.describe('a', [STRICT])
  for (const uid of ['a', 'gone']) {
    reports.onMessage({ type: 'guard-refused', uid, ...ENDS })
    reports.onMessage({ type: 'guard-counted', uid, count: 3 })
  }
  reports.onMessage({ type: 'guard-counted', uid: 'a', count: 4 })
  t.same(posted, [{ type: 'guard-refused', uid: 'a', ...ENDS }])
  t.same([...reports.counts], [['a', 7]])
  reports.forget('a')
  t.same([...reports.counts], [])
})
