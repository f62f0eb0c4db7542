// SPDX-License-Identifier: Apache-2.0
// What the shop lives through when the control plane is slow or gone: two steps of its story.
import { statSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Cluster } from './cluster.ts'
import { poll } from './mesh-lab.ts'
import { processesOf, processOf, startOf } from './pod-processes.ts'
import type { Shop } from './shop.ts'
import { DENY_FRONT, SHOP } from './shop-objects.ts'

/** Where it happens. */
export interface ShopStory {
  readonly cluster: Cluster
  readonly shop: Shop
  readonly nodes: readonly string[]
}

const SYSTEM = 'istio-system'
const WAIT_MS = 60_000
/** A data process that was killed serves again within this. */
const BACK_MS = 1_000
/**
 * From the kill of a whole ztunnel until requests are answered again: the kubelet notices, waits ten seconds where it was started
 * again before, starts it; it reads its state.
 */
const COLD_START_MS = 30_000
const SUPERVISOR = '/ztunnel/supervisor/main.ts'
const DATA_PROCESS = '/ztunnel/main.ts'
/** A slow apiserver stands still that long, then answers that long. */
const [STALL_MS, ANSWER_MS] = [900, 200] as const

/** It stands still most of the time. */
export async function standSlowApiserver(t: Test, { cluster, shop }: ShopStory): Promise<void> {
  const sinceMs = Date.now()
  const before = shop.mark()
  let isOver = false
  const stalls = (async () => {
    while (!isOver) {
      await cluster.signal('kube-apiserver', 'SIGSTOP')
      await pause(STALL_MS)
      await cluster.signal('kube-apiserver', 'SIGCONT')
      await pause(ANSWER_MS)
    }
  })()
  try {
    t.same(await shop.goesOn(before), [], 'nobody notices')
    await cluster.apply(DENY_FRONT)
    await shop.recordOf('a refusal', sinceMs, ({ reason }) => reason === 'POLICY_DENY')
    await cluster.kubectl('-n', SHOP, 'delete', 'authorizationpolicy', 'no-front')
  } finally {
    isOver = true
    await stalls
  }
  await shop.goesOn(shop.mark())
  t.same(
    shop.failures(before).filter((line) => !line.includes('front to cart')),
    [],
    'nothing but what was denied',
  )
}

/** All of a ztunnel is killed: the kubelet starts its container again, and it knows from its node's disk what to serve. */
async function standColdStart(t: Test, { shop }: ShopStory, uid: string): Promise<void> {
  const before = shop.mark()
  const killedMs = Date.now()
  const old = processOf(uid, DATA_PROCESS)
  const all = processesOf(uid).map(({ pid }) => pid)
  t.ok(all.length >= 3, 'keeper, supervisor, data process')
  for (const pid of all) process.kill(pid, 'SIGKILL')
  await poll('another data process', () => otherProcess(uid, DATA_PROCESS, old), WAIT_MS)
  await shop.goesOn(shop.mark())
  const after = shop.since(before)
  const failed = after.filter(({ error }) => error !== null)
  const lastMs = Math.max(killedMs, ...failed.map(({ startedMs }) => startedMs))
  t.ok(
    lastMs - killedMs <= COLD_START_MS,
    `the last that failed began ${lastMs - killedMs} ms after the kill`,
  )
  t.comment(
    `cold start without apiserver and controllers: ${failed.length} failed within ${lastMs - killedMs} ms`,
  )
}

/** Another process than `known` that runs this program in the pod; null until there is one. */
function otherProcess(uid: string, program: string, known: number): number | null {
  try {
    const found = processOf(uid, program)
    return found === known ? null : found
  } catch {
    return null // none, or one that ends beside the next
  }
}

/** Nobody tells the nodes anything; a supervisor and a data process are killed meanwhile. */
export async function standOutage(t: Test, story: ShopStory): Promise<void> {
  const { cluster, shop } = story
  const sinceMs = Date.now()
  const before = shop.mark()
  const [one, two] = await Promise.all(story.nodes.map((node) => shop.ztunnelOf(node)))
  if (one === undefined || two === undefined) throw new Error('two ztunnels')
  await cluster.kubectl('-n', SYSTEM, 'scale', 'deployment/sidestep-controller', '--replicas=0')
  await poll(
    'no controller',
    async () => !(await shop.pods(SYSTEM)).some(({ app }) => app === 'sidestep-controller') || null,
    WAIT_MS,
  )
  await cluster.kill('kube-apiserver')
  try {
    t.same(await shop.goesOn(before), [], 'nobody notices')

    const dataProcess = processOf(one.uid, DATA_PROCESS)
    const supervisor = processOf(one.uid, SUPERVISOR)
    const states = [dataProcess, processOf(two.uid, DATA_PROCESS)].map(
      (pid) => statSync(`/proc/${pid}/root/var/lib/sidestep`).ino,
    )
    t.equal(new Set(states).size, 2, 'each node starts cold from its own state')
    const diedMs = Date.now()
    process.kill(supervisor, 'SIGKILL')
    const next = await poll('another supervisor', () => otherProcess(one.uid, SUPERVISOR, supervisor))
    // By the kernel's clock: when it was started, not when somebody had time to look.
    const startedMs = startOf(next)
    t.ok(
      startedMs - diedMs <= BACK_MS,
      `started ${Math.round(startedMs - diedMs)} ms after the other was killed`,
    )
    t.same(await shop.goesOn(before), [], 'the data process serves on')
    t.equal(processOf(one.uid, DATA_PROCESS), dataProcess, 'it is the same')

    const beforeKill = shop.mark()
    const killedMs = Date.now()
    process.kill(processOf(two.uid, DATA_PROCESS), 'SIGKILL')
    await shop.goesOn(beforeKill)
    const after = shop.since(beforeKill)
    const late = after.filter(({ startedMs, error }) => error !== null && startedMs > killedMs + BACK_MS)
    t.same(late, [], 'a second later every request is answered')
    const slowestMs = Math.max(...after.filter(({ error }) => error === null).map(({ tookMs }) => tookMs))
    t.comment(
      `${shop.failures(beforeKill).length} requests in flight were lost, the slowest took ${slowestMs} ms`,
    )
    t.comment(shop.failures(beforeKill).join('\n'))
    await standColdStart(t, story, two.uid)
  } finally {
    await cluster.start('kube-apiserver')
  }
  await cluster.kubectl('-n', SYSTEM, 'scale', 'deployment/sidestep-controller', '--replicas=2')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=90s')
  const restartedLog = await shop.log(sinceMs)
  t.ok(
    restartedLog.some(({ msg }) => msg === 'pods of an earlier run, until the apiserver answers'),
    'the cold start went on with what was saved',
  )
  const members = await shop.members()
  const isOfMember = (address: unknown): boolean =>
    members.some(({ ip }) => `${address}`.startsWith(`${ip}:`))
  const plain = restartedLog.filter(
    (line) =>
      line.msg === 'connection complete' &&
      line.transport !== 'HBONE' &&
      isOfMember(line['src.addr']) &&
      isOfMember(line['dst.addr']),
  )
  t.same(plain, [], 'no plain text between members, all the time')
  const isBack = shop.mark()
  await shop.untilRedirection('enabled')
  const reasons = (await shop.log(sinceMs)).map(({ reason }) => reason)
  t.ok(reasons.includes('SUPERVISOR_LOST'), `of ${reasons.length} lines`)
  t.same(await shop.goesOn(isBack), [])
}
