// SPDX-License-Identifier: Apache-2.0
// What the shop lives through when the control plane is slow or gone: two steps of its story.
import { statSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Cluster } from './cluster.ts'
import { poll } from './mesh-lab.ts'
import { processOf } from './pod-processes.ts'
import type { LogLine, Shop } from './shop.ts'
import { DENY_FRONT, SHOP } from './shop-objects.ts'

/** Where it happens. */
export interface ShopStory {
  readonly cluster: Cluster
  readonly shop: Shop
  readonly nodes: readonly string[]
  /** A record of this kind since then. */
  readonly recordOf: (what: string, sinceMs: number, isIt: (record: LogLine) => boolean) => Promise<LogLine>
  /** Waits until the node of each member says that it is in the mesh. */
  readonly untilRedirection: () => Promise<void>
}

const SYSTEM = 'istio-system'
const WAIT_MS = 60_000
/** A data process that was killed serves again within this. */
const BACK_MS = 1_000
/** A slow apiserver stands still that long, then answers that long. */
const [STALL_MS, ANSWER_MS] = [900, 200] as const

/** It stands still most of the time. */
export async function standSlowApiserver(t: Test, { cluster, shop, recordOf }: ShopStory): Promise<void> {
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
    await recordOf('a refusal', sinceMs, ({ reason }) => reason === 'POLICY_DENY')
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

    const dataProcess = processOf(one.uid, '/ztunnel/main.ts')
    const supervisor = processOf(one.uid, '/ztunnel/supervisor/main.ts')
    const states = [dataProcess, processOf(two.uid, '/ztunnel/main.ts')].map(
      (pid) => statSync(`/proc/${pid}/root/var/lib/sidestep`).ino,
    )
    t.equal(new Set(states).size, 2, 'each node starts cold from its own state')
    process.kill(supervisor, 'SIGKILL')
    await poll('another supervisor', () => {
      try {
        return processOf(one.uid, '/ztunnel/supervisor/main.ts') !== supervisor || null
      } catch {
        return null
      }
    })
    t.same(await shop.goesOn(before), [], 'the data process serves on')
    t.equal(processOf(one.uid, '/ztunnel/main.ts'), dataProcess, 'it is the same')

    const beforeKill = shop.mark()
    const killedMs = Date.now()
    process.kill(processOf(two.uid, '/ztunnel/main.ts'), 'SIGKILL')
    await shop.goesOn(beforeKill)
    const after = shop.since(beforeKill)
    const late = after.filter(({ startedMs, error }) => error !== null && startedMs > killedMs + BACK_MS)
    t.same(late, [], 'a second later every request is answered')
    const slowestMs = Math.max(...after.filter(({ error }) => error === null).map(({ tookMs }) => tookMs))
    t.comment(
      `${shop.failures(beforeKill).length} requests in flight were lost, the slowest took ${slowestMs} ms`,
    )
    t.comment(shop.failures(beforeKill).join('\n'))
  } finally {
    await cluster.start('kube-apiserver')
  }
  await cluster.kubectl('-n', SYSTEM, 'scale', 'deployment/sidestep-controller', '--replicas=2')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=90s')
  const isBack = shop.mark()
  await story.untilRedirection()
  const reasons = (await shop.log(sinceMs)).map(({ reason }) => reason)
  t.ok(reasons.includes('SUPERVISOR_LOST'), `of ${reasons.length} lines`)
  t.same(await shop.goesOn(isBack), [])
}
