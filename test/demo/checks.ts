// SPDX-License-Identifier: Apache-2.0
// The checks of `demo --once` must be able to fail: a cluster that keeps its promises passes, and every broken
// promise fails the check that names it.
import t from 'tap'
import { type CheckedCluster, runChecks } from '../../demo/checks.ts'
import { explainRefusal, isPolicyRefusal } from '../../demo/explanation.ts'
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
  ...[1, 2, 3].map(() => record('node1', 'front')),
  ...[1, 2].map(() => record('node1', 'batch', REFUSED)),
  ...[1, 2, 3].map(() => record('node2', 'front')),
  ...[1, 2].map(() =>
    record('node2', 'batch', { ...REFUSED, policy: DENY_POLICY, fix: 'change the policy' }),
  ),
  record('node2', 'legacy', { transport: 'TCP' }),
]

/** What a cluster of ours does otherwise than the good one. */
interface Faults {
  readonly records?: readonly DemoRecord[]
  readonly letsBatchIn?: boolean
  readonly seenCaller?: string
  /** Nothing goes through without the controller, or everything. */
  readonly whenAlone?: 'closed' | 'open'
  /** As whom node2 follows, before and after the controller was away; '' = not. */
  readonly followers?: readonly [before: string, after: string]
  readonly failsToStart?: boolean
}

function cluster({
  records = GOOD,
  letsBatchIn = false,
  seenCaller = '10.1.0.2',
  whenAlone,
  followers = ['node certificate', 'node certificate'],
  failsToStart = false,
}: Faults): CheckedCluster {
  let isKilled = false
  let startCount = 1
  const isRefused = (from: string): boolean => {
    if (isKilled && whenAlone !== undefined) return whenAlone === 'closed'
    return from === 'batch' && !letsBatchIn
  }
  return {
    plan: planDemo('netns'),
    records,
    call: async (from) =>
      isRefused(from)
        ? { id: 1, status: 0, text: 'read ECONNRESET' }
        : { id: 1, status: 200, text: `{"service":"cart","caller":"${seenCaller}"}` },
    explain: async (each) => (isPolicyRefusal(each) ? explainRefusal(null, each) : null),
    controller: {
      kill: async () => {
        isKilled = true
      },
      start: async () => {
        if (failsToStart) throw new Error('the port is taken')
        isKilled = false
        startCount++
      },
      followers: async () => {
        const caller = followers[startCount - 1] ?? ''
        const second = caller === '' ? [] : [{ node: 'node2', caller }]
        return [{ node: 'node1', caller: 'node certificate' }, ...second]
      },
    },
  }
}

async function failed(given: CheckedCluster): Promise<readonly string[]> {
  const { checks } = await runChecks(given, () => {}, AbortSignal.timeout(20_000))
  return checks.filter(({ ok }) => !ok).map(({ name }) => name)
}
const replace = (index: number, facts: Partial<DemoRecord>): readonly DemoRecord[] =>
  GOOD.map((each, at) => (at === index ? { ...each, ...facts } : each))

t.test('a mesh that keeps its promises passes every check', async (t) => {
  t.strictSame(await failed(cluster({})), [])
})

t.test('every broken promise is found by its check', async (t) => {
  const cases: readonly (readonly [what: string, faults: Faults, check: string])[] = [
    ['batch gets an answer', { letsBatchIn: true }, 'batch is refused'],
    ['cart sees its ztunnel', { seenCaller: '10.99.0.1' }, 'cart sees the address of its caller'],
    ['front goes in plain text', { records: replace(0, { transport: 'TCP' }) }, 'inside mTLS'],
    ['the tunnel stays empty', { records: replace(5, { bytesReceived: 0 }) }, 'inside mTLS'],
    [
      'somebody else answers',
      { records: replace(5, { destinationIdentity: identityOf('batch') }) },
      'inside mTLS',
    ],
    ['the policy is not named', { records: replace(8, { policy: '' }) }, 'names the policy'],
    ['no fix is known', { records: replace(8, { fix: '' }) }, 'is explained'],
    [
      'legacy is called encrypted',
      { records: replace(10, { transport: 'HBONE' }) },
      'recorded as plain text',
    ],
    ['a record comes twice', { records: [...GOOD, record('node2', 'front')] }, 'exactly one record'],
    ['nothing goes on without the controller', { whenAlone: 'closed' }, 'without the controller'],
    ['no policy holds without the controller', { whenAlone: 'open' }, 'without the controller'],
    ['a node did not join', { followers: ['service account', 'node certificate'] }, 'joined'],
    ['the controller does not start again', { failsToStart: true }, 'started again'],
    ['a node does not come back', { followers: ['node certificate', ''] }, 'started again'],
  ]
  await Promise.all(
    cases.map(async ([what, faults, check]) => {
      const names = await failed(cluster(faults))
      t.ok(
        names.some((name) => name.includes(check)),
        `${what}: ${names.join('; ')}`,
      )
    }),
  )
})
