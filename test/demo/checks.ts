// SPDX-License-Identifier: Apache-2.0
// The checks of `demo --once` must be able to fail: a cluster that keeps its promises passes, and every broken
// promise fails the check that names it.
import t from 'tap'
import { type CheckedCluster, runChecks } from '../../demo/checks.ts'
import { DENY_POLICY, identityOf, planDemo } from '../../demo/plan.ts'
import type { DemoRecord } from '../../demo/records.ts'

function record(
  node: string,
  from: 'front' | 'batch' | 'legacy',
  facts: Partial<DemoRecord> = {},
): DemoRecord {
  const isOutbound = node === 'node1'
  const ip = { front: '10.1.0.2', batch: '10.1.0.3', legacy: '10.1.0.4' }[from]
  return {
    node,
    time: '2026-01-02T03:04:05.678Z',
    direction: isOutbound ? 'outbound' : 'inbound',
    reason: 'OK',
    transport: 'HBONE',
    sourceAddress: `${ip}:4000`,
    sourceWorkload: '',
    sourceIdentity: from === 'legacy' ? '' : identityOf(from),
    destinationAddress: isOutbound ? '10.2.0.2:15008' : '10.2.0.2:8080',
    hboneAddress: '10.2.0.2:8080',
    destinationWorkload: 'cart',
    destinationIdentity: identityOf('cart'),
    service: '',
    policy: '',
    detail: '',
    fix: '',
    bytesSent: 1,
    bytesReceived: 1,
    durationMs: 1,
    ...facts,
  }
}
const REFUSED = { reason: 'POLICY_DENY', bytesSent: 0, bytesReceived: 0 } as const
const GOOD: readonly DemoRecord[] = [
  record('node1', 'front'),
  record('node1', 'front'),
  record('node1', 'batch', REFUSED),
  record('node2', 'front'),
  record('node2', 'front'),
  record('node2', 'batch', { ...REFUSED, policy: DENY_POLICY }),
  record('node2', 'legacy', { transport: 'TCP' }),
]

function cluster(records: readonly DemoRecord[], refuses: boolean, seenCaller = '10.1.0.2'): CheckedCluster {
  return {
    plan: planDemo('netns'),
    records,
    call: async (from) =>
      from === 'batch' && refuses
        ? { id: 1, status: 0, text: 'read ECONNRESET' }
        : { id: 1, status: 200, text: `{"service":"cart","caller":"${seenCaller}"}` },
  }
}

async function failed(given: CheckedCluster): Promise<readonly string[]> {
  const { checks } = await runChecks(given, () => {}, AbortSignal.timeout(10_000))
  return checks.filter(({ ok }) => !ok).map(({ name }) => name)
}
const replace = (index: number, facts: Partial<DemoRecord>): readonly DemoRecord[] =>
  GOOD.map((each, at) => (at === index ? { ...each, ...facts } : each))

t.test('a mesh that keeps its promises passes every check', async (t) => {
  t.strictSame(await failed(cluster(GOOD, true)), [])
})

t.test('every broken promise is found by its check', async (t) => {
  for (const [what, given, expected] of [
    ['batch gets an answer', cluster(GOOD, false), 'batch is refused'],
    ['cart sees its ztunnel', cluster(GOOD, true, '10.99.0.1'), 'cart sees the address of its caller'],
    ['front goes in plain text', cluster(replace(0, { transport: 'TCP' }), true), 'inside mTLS'],
    ['the tunnel stays empty', cluster(replace(3, { bytesReceived: 0 }), true), 'inside mTLS'],
    [
      'somebody else answers',
      cluster(replace(3, { destinationIdentity: identityOf('batch') }), true),
      'inside mTLS',
    ],
    ['the policy is not named', cluster(replace(5, { policy: '' }), true), 'names the policy'],
    [
      'legacy is called encrypted',
      cluster(replace(6, { transport: 'HBONE' }), true),
      'recorded as plain text',
    ],
    ['a record comes twice', cluster([...GOOD, record('node2', 'front')], true), 'exactly one record'],
  ] as const) {
    const names = await failed(given)
    t.ok(
      names.some((name) => name.includes(expected)),
      `${what}: ${names.join('; ')}`,
    )
  }
})
