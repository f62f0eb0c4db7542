// SPDX-License-Identifier: Apache-2.0
// The ztunnel under faults, with real processes: its data process is killed, its configuration changes and breaks.
import { readdirSync, readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { DemoCluster } from '../../demo/cluster.ts'
import { CART_VIP, planDemo, podOf, SERVICE_PORT } from '../../demo/plan.ts'

const POLL_MS = 50

/** Polls until `holds()` is true; fails the caller's assertion by returning false at the deadline. */
async function eventually(holds: () => boolean | Promise<boolean>, deadlineMs = 5000): Promise<boolean> {
  for (const end = performance.now() + deadlineMs; performance.now() < end; await sleep(POLL_MS)) {
    if (await holds()) return true
  }
  return false
}

/** Data processes of one node of the cluster. */
function dataProcesses(cluster: DemoCluster, node: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
        const environment = readFileSync(`/proc/${pid}/environ`, 'latin1')
        return (
          command.includes('/ztunnel/main.ts') &&
          environment.includes(cluster.directory) &&
          environment.includes(`SIDESTEP_NODE_NAME=${node}`)
        )
      } catch {
        return false // not a process, or it ended meanwhile
      }
    })
}

t.test('a ztunnel under faults', async (t) => {
  const plan = planDemo('netns')
  const cluster = await DemoCluster.start(plan, new AbortController().signal)
  t.teardown(() => cluster.close())
  const reaches = async (from: 'front' | 'batch'): Promise<boolean> =>
    (await cluster.call(from, CART_VIP, 80, '/')).status === 200
  const replacePolicy = async (text: string): Promise<void> => {
    await writeFile(`${cluster.policyFile}.new`, text)
    await rename(`${cluster.policyFile}.new`, cluster.policyFile)
  }
  const good = readFileSync(cluster.policyFile, 'utf8')

  await t.test('front reaches cart by service and by pod, batch does not', async (t) => {
    const addresses = [
      [CART_VIP, 80],
      ['10.2.0.2', SERVICE_PORT],
    ] as const
    for (const [ip, port] of addresses) {
      const { status, text } = await cluster.call('front', ip, port, '/')
      t.equal(status, 200)
      t.match(JSON.parse(text), { caller: podOf(plan, 'front').ip }, 'the application sees its client')
    }
    t.notOk(await reaches('batch'), 'a policy refuses batch')
  })

  await t.test('traffic flows again after a data process was killed', async (t) => {
    for (const node of ['node1', 'node2']) {
      const [victim, ...others] = dataProcesses(cluster, node)
      t.same(others, [], 'one per node')
      process.kill(victim ?? -1, 'SIGKILL')
      t.ok(await eventually(() => reaches('front')), `${node}: traffic flows again`)
      t.not(dataProcesses(cluster, node)[0], victim)
    }
  })

  await t.test('policies follow the file, and a broken file changes nothing', async (t) => {
    const deniesFront = good.replaceAll('/sa/batch', '/sa/front')
    t.not(deniesFront, good)
    await replacePolicy(deniesFront)
    t.ok(await eventually(async () => !(await reaches('front'))), 'front is refused')
    t.ok(await eventually(() => reaches('batch')), 'batch is not')
    await replacePolicy('apiVersion: security.istio.io/v1\nkind: [ {nam: x')
    t.ok(await eventually(async () => (await cluster.controller.complaints()).length > 0))
    t.notOk(await reaches('front'), 'the last good file is in force')
    await replacePolicy(good)
    t.ok(await eventually(() => reaches('front')))
  })

  await t.test('every record of a refusal carries a code', async (t) => {
    const refused = cluster.records.filter(({ reason }) => reason !== 'OK')
    t.ok(refused.length > 0)
    t.ok(refused.every(({ reason }) => /^[A-Z0-9_]+$/.test(reason)))
  })
})
