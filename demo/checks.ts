// SPDX-License-Identifier: Apache-2.0
// What `demo --once` proves: each promise of the demo as one named check on a running cluster.
import { setTimeout as wait } from 'node:timers/promises'
import type { DemoCluster } from './cluster.ts'
import type { Follower } from './controller-process.ts'
import { type RefusalExplanation, splitAddress } from './explanation.ts'
import { CART_VIP, DENY_POLICY, identityOf, podOf, SERVICE_PORT } from './plan.ts'
import type { DemoRecord } from './records.ts'
import type { CallAnswer } from './service.ts'

/** One check and how it went. */
export interface Check {
  readonly name: string
  readonly ok: boolean
  /** What was seen. */
  readonly detail: string
}
/** The result of all of them. */
export interface CheckReport {
  readonly checks: readonly Check[]
  readonly explanation: RefusalExplanation | null
}

/** Records are written every 100 ms; a late one would be a defect. */
const RECORDS_TIMEOUT_MS = 3000
const RECORDS_INTERVAL_MS = 50
/** Longer than two intervals of the writers: a record too many has come by then. */
const SETTLE_MS = 300
/** Several of the pauses after which a node asks again for a controller that was away for a moment. */
const FOLLOW_TIMEOUT_MS = 10_000

interface Calls {
  readonly byService: CallAnswer
  readonly byAddress: CallAnswer
  readonly refused: CallAnswer
  /** Null without a pod that is not enrolled. */
  readonly legacy: CallAnswer | null
  /** While there is no controller. */
  readonly withoutController: { readonly front: CallAnswer; readonly batch: CallAnswer }
}

/** What is checked of a cluster that is up. */
export type CheckedCluster = Pick<DemoCluster, 'plan' | 'call' | 'explain'> & {
  readonly records: readonly DemoRecord[]
  readonly controller: Pick<DemoCluster['controller'], 'followers' | 'kill' | 'start'>
}

/** Runs every check; `onCheck` hears each when it is decided. */
export async function runChecks(
  cluster: CheckedCluster,
  onCheck: (check: Check) => void,
  signal: AbortSignal,
): Promise<CheckReport> {
  const checks: Check[] = []
  const check = (name: string, ok: boolean, detail: string): void => {
    const result = { name, ok, detail }
    checks.push(result)
    onCheck(result)
  }
  // DemoCluster.start() resolves only then.
  check('both ztunnels serve their pods', true, cluster.plan.nodes.join(', '))
  check('both joined the controller with a token and follow it', ...(await followed(cluster, signal)))
  const calls = await makeCalls(cluster)
  const expected = { node1: 5, node2: calls.legacy === null ? 5 : 6 }
  await recordsArrive(cluster, expected.node1 + expected.node2, signal)
  checkAnswers(cluster, calls, check)
  checkRecords(cluster, calls, expected, check)
  const refusal = cluster.records.find((each) => each.direction === 'inbound' && each.reason !== 'OK')
  const explanation = refusal === undefined ? null : await cluster.explain(refusal)
  check(
    'the refusal is explained with its policy and its fix',
    explanation?.policy === DENY_POLICY && explanation.fix !== '',
    explanation === null ? 'no explanation' : `${explanation.reason}; fix: ${explanation.fix}`,
  )
  const failure = await cluster.controller.start(signal).then(() => '', String)
  const [isFollowed, detail] = failure === '' ? await followed(cluster, signal) : [false, failure]
  check('the controller is started again, and both nodes follow it', isFollowed, detail)
  return { checks, explanation }
}

/** Waits until both nodes follow the controller, each as itself. */
async function followed(
  cluster: CheckedCluster,
  signal: AbortSignal,
): Promise<[ok: boolean, detail: string]> {
  const { plan, controller } = cluster
  let seen: readonly Follower[] = []
  const follows = (name: string): boolean =>
    seen.some(({ node, caller }) => node === name && caller === 'node certificate')
  for (const endMs = performance.now() + FOLLOW_TIMEOUT_MS; performance.now() < endMs; ) {
    seen = await controller.followers().catch(() => [])
    if (plan.nodes.every(follows)) break
    await wait(RECORDS_INTERVAL_MS, undefined, { signal })
  }
  return [plan.nodes.every(follows), seen.map(({ node, caller }) => `${node} by ${caller}`).join(', ')]
}

async function makeCalls(cluster: CheckedCluster): Promise<Calls> {
  const cart = podOf(cluster.plan, 'cart').ip
  const hasLegacy = cluster.plan.pods.some(({ name }) => name === 'legacy')
  const callService = (from: 'front' | 'batch'): Promise<CallAnswer> =>
    cluster.call(from, CART_VIP, 80, '/items')
  const withController = {
    byService: await callService('front'),
    byAddress: await cluster.call('front', cart, SERVICE_PORT, '/orders', 'one umbrella'),
    refused: await callService('batch'),
    legacy: hasLegacy ? await cluster.call('legacy', cart, SERVICE_PORT, '/items') : null,
  }
  await cluster.controller.kill()
  const withoutController = { front: await callService('front'), batch: await callService('batch') }
  return { ...withController, withoutController }
}

async function recordsArrive(cluster: CheckedCluster, count: number, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + RECORDS_TIMEOUT_MS
  while (cluster.records.length < count && performance.now() < deadlineMs) {
    await wait(RECORDS_INTERVAL_MS, undefined, { signal })
  }
  await wait(SETTLE_MS, undefined, { signal })
}

type AddCheck = (name: string, ok: boolean, detail: string) => void

function summary({ status, text }: CallAnswer): string {
  return status === 0 ? text : `${status} ${text.trim()}`
}

function checkAnswers(cluster: CheckedCluster, calls: Calls, check: AddCheck): void {
  const comesFrom = (answer: CallAnswer): boolean => answer.status === 200 && answer.text.includes('"cart"')
  check('front reaches cart by its service address', comesFrom(calls.byService), summary(calls.byService))
  check('front reaches cart by its pod address', comesFrom(calls.byAddress), summary(calls.byAddress))
  check('batch is refused', calls.refused.status === 0, summary(calls.refused))
  const { front, batch } = calls.withoutController
  check(
    'without the controller, which was killed, front still reaches cart and batch does not',
    comesFrom(front) && batch.status === 0,
    `front: ${summary(front)}; batch: ${summary(batch)}`,
  )
  if (calls.legacy === null) return
  const sees = `"caller":"${podOf(cluster.plan, 'front').ip}"`
  check('cart sees the address of its caller', calls.byService.text.includes(sees), sees)
  check('legacy, which is not enrolled, reaches cart', comesFrom(calls.legacy), summary(calls.legacy))
}

function checkRecords(
  cluster: CheckedCluster,
  calls: Calls,
  expected: { readonly node1: number; readonly node2: number },
  check: AddCheck,
): void {
  const { records } = cluster
  const of = (node: string, from: string): DemoRecord[] =>
    records.filter((record) => record.node === node && record.sourceIdentity === from)
  const front = identityOf('front')
  const carried = [...of('node1', front), ...of('node2', front)]
  const isProved = (record: DemoRecord): boolean =>
    record.transport === 'HBONE' &&
    record.reason === 'OK' &&
    record.bytesSent > 0 &&
    record.bytesReceived > 0 &&
    record.destinationIdentity === identityOf('cart')
  check(
    'what front sends is carried inside mTLS between proved identities',
    carried.length === 6 && carried.every(isProved),
    `${front} → ${identityOf('cart')}, ${carried.map(({ transport }) => transport).join(', ')}`,
  )
  const refusals = of('node2', identityOf('batch'))
  check(
    'batch is refused with POLICY_DENY, and the record names the policy',
    refusals.length === 2 &&
      refusals.every(({ reason, policy }) => reason === 'POLICY_DENY' && policy === DENY_POLICY),
    refusals.map(({ reason, policy }) => `${reason} by ${policy}`).join(', '),
  )
  if (calls.legacy !== null) {
    const plain = of('node2', '')
    const isPlain = plain.length === 1 && plain[0]?.transport === 'TCP' && plain[0].reason === 'OK'
    const source = splitAddress(plain[0]?.sourceAddress ?? ':').ip
    const isLegacy = source === podOf(cluster.plan, 'legacy').ip
    check(
      'what legacy sends is recorded as plain text',
      isPlain && isLegacy,
      `${source}, ${plain[0]?.transport}`,
    )
  }
  const counts = cluster.plan.nodes.map((name) => records.filter(({ node }) => node === name).length)
  check(
    'every connection leaves exactly one record on each side',
    counts[0] === expected.node1 && counts[1] === expected.node2,
    `node1 ${counts[0]} of ${expected.node1}, node2 ${counts[1]} of ${expected.node2}`,
  )
}
