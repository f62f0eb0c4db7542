// SPDX-License-Identifier: Apache-2.0
// The endless form of the demo: the same calls again and again, every record shown as it is written. Whoever edits the
// files meanwhile sees what comes of it, and what is wrong with them.
import { setTimeout as wait } from 'node:timers/promises'
import type { DemoCluster } from './cluster.ts'
import type { DemoOutput } from './output.ts'
import { CART_VIP, type DemoPod, podOf, SERVICE_PORT } from './plan.ts'

/** Slow enough to read. */
const CALL_INTERVAL_MS = 1500

interface LiveCall {
  readonly from: DemoPod['name']
  readonly what: string
  readonly ip: string
  readonly port: number
}

/** Calls until `signal` fires or a process of the cluster ends. @throws Error when one did */
export async function runLive(cluster: DemoCluster, output: DemoOutput, signal: AbortSignal): Promise<void> {
  let shown = Promise.resolve()
  cluster.onRecord = (record) => {
    // One after the other, in the order in which they came.
    shown = shown.then(async () => output.record(record, await cluster.explain(record)))
  }
  output.ready(cluster.policyFile)
  const tellNews = newsOfController(cluster.controller, output)
  const calls = callsOf(cluster)
  for (let turn = 0; !signal.aborted; turn++) {
    const call = calls[turn % calls.length]
    if (call === undefined) return
    const { status, text } = await cluster.call(call.from, call.ip, call.port, '/items')
    output.call(call.what, status === 0 ? `no answer (${text})` : `HTTP ${status}`)
    cluster.assertRunning()
    await wait(CALL_INTERVAL_MS, undefined, { signal }).catch(() => {})
    await shown
    await tellNews()
    cluster.forgetRecords()
  }
}

/** Tells once what the controller says of its files, and that it has ended. */
function newsOfController(controller: DemoCluster['controller'], output: DemoOutput): () => Promise<void> {
  let told = ''
  return async () => {
    const news = controller.hasEnded
      ? ['the controller has ended: traffic goes on, changes of the files are not heard of']
      : await controller.complaints().catch(() => [])
    const text = news.join('\n')
    if (text !== told) for (const each of news) output.note(each)
    told = text
  }
}

function callsOf(cluster: DemoCluster): readonly LiveCall[] {
  const cart = podOf(cluster.plan, 'cart').ip
  const byService = { ip: CART_VIP, port: 80 }
  const byAddress = { ip: cart, port: SERVICE_PORT }
  const calls: LiveCall[] = [
    { from: 'front', what: 'front calls the service cart', ...byService },
    { from: 'legacy', what: 'legacy, not enrolled, calls the pod of cart', ...byAddress },
    { from: 'front', what: 'front calls the pod of cart', ...byAddress },
    { from: 'batch', what: 'batch calls the service cart', ...byService },
  ]
  return calls.filter(({ from }) => cluster.plan.pods.some(({ name }) => name === from))
}
