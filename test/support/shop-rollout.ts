// SPDX-License-Identifier: Apache-2.0
// Applications of the shop are replaced while they are called all the time: a step of its story. Each request that fails is
// accounted for, one by one.
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import { poll } from './mesh-lab.ts'
import { type LogLine, type Outcome, type Shop, told } from './shop.ts'
import { rush, SHOP } from './shop-objects.ts'
import type { ShopStory } from './shop-outages.ts'

const WAIT_MS = 60_000
/** Aimed at; what two shared processors give is told. */
const RUSH_PER_SECOND = 500
/** So long without a rollout; of that rate at least this part is kept in one. */
const RATE_MS = 5_000
const LEAST_RATE = 0.7

/** Requests a second of all callers while something is done. */
async function rateOf(shop: Shop, work: () => Promise<void>): Promise<number> {
  const [before, startedMs] = [shop.mark(), Date.now()]
  await work()
  return Math.round((shop.since(before).length * 1000) / (Date.now() - startedMs))
}

/** Two kinds of servers are rolled out, under load. */
export async function standRollout(t: Test, { cluster, shop }: ShopStory): Promise<void> {
  await cluster.apply(rush(RUSH_PER_SECOND))
  await shop.ready()
  await shop.listenTo('rush', 'rush.mjs')
  await shop.goesOn(shop.mark())
  const quiet = await rateOf(shop, () => pause(RATE_MS))
  const before = shop.mark()
  const startedMs = Date.now()
  const busy = await rateOf(shop, async () => {
    for (const name of ['till', 'kiosk']) {
      await cluster.kubectl('-n', SHOP, 'rollout', 'restart', `deployment/${name}`)
      await shop.ready()
      await poll(
        'the old ones are gone',
        async () => (await shop.pods()).filter(({ app }) => app === name).length === 3 || null,
        WAIT_MS,
      )
    }
  })
  await shop.goesOn(shop.mark())
  const calls = shop.since(before).filter(({ caller }) => caller === 'rush')
  const records = await shop.records(startedMs)
  const { ip } = await shop.podOf('rush')
  const failed = calls.filter(({ error }) => error !== null)
  t.same(unfinished(failed, records, ip, ({ target }) => target === 'kiosk').slice(0, 20), [])
  const ofTill = failed.filter(({ target }) => target === 'till').length
  // Whether anybody is refused is decided by who is faster: the kubelet or the endpoints.
  const retried = records.filter(({ retries }) => retries !== undefined).length
  t.comment(`${calls.length} requests, ${busy} a second, ${quiet} without a rollout; ${retried} tried again`)
  t.comment(
    `${failed.length} that the application had were not answered, ${ofTill} where it finishes what it begins`,
  )
  t.ok(busy >= quiet * LEAST_RATE, `${busy} of ${quiet} a second`)
  const others = shop.since(before).filter(({ caller, error }) => caller !== 'rush' && error !== null)
  t.same(others, [], 'and nobody else')
  shop.forget('rush')
  const names = ['rush', 'till', 'kiosk']
  await cluster.kubectl('-n', SHOP, 'delete', 'deployment', ...names, '--cascade=foreground')
}

/**
 * Requests from `ip` that failed and are the mesh's: those without two records of their own, of the node of the caller and
 * of the other one, which say that the application (or the kernel for it) had taken the connection, and closed or reset it
 * without an answer. Without a mesh these fail as well; and what an application has read may be done already: nobody can send it
 * again. That a pod went meanwhile counts where `isGoneAtOnce`: there the application did not wait for what it had begun.
 */
function unfinished(
  failed: readonly Outcome[],
  records: readonly LogLine[],
  ip: string,
  isGoneAtOnce: (outcome: Outcome) => boolean,
): readonly string[] {
  const inbound = records.filter(
    (each) =>
      each.direction === 'inbound' &&
      `${each['src.addr']}`.startsWith(`${ip}:`) &&
      each.connect_ms !== undefined &&
      each.bytes_sent === 0,
  )
  return failed.flatMap((outcome) => {
    const reasons = ['OK', 'PEER_RESET', ...(isGoneAtOnce(outcome) ? ['ENDPOINT_GONE'] : [])]
    // A port comes round again.
    const outbound = records.find(
      (each) =>
        each.direction === 'outbound' &&
        each['src.addr'] === `${ip}:${outcome.port}` &&
        Date.parse(`${each.time}`) >= outcome.startedMs,
    )
    const at = inbound.findIndex(
      (each) =>
        each['dst.addr'] === outbound?.['dst.hbone_addr'] &&
        reasons.includes(`${each.reason}`) &&
        // Of one that was reset before the application read it, not all came so far.
        (each.reason === 'OK'
          ? each.bytes_recv === outbound?.bytes_sent
          : Number(each.bytes_recv) <= Number(outbound?.bytes_sent)),
    )
    const isTheirs = at >= 0 && outbound?.bytes_recv === 0
    if (isTheirs) inbound.splice(at, 1)
    return isTheirs ? [] : [`${told(outcome)}; ${JSON.stringify(outbound ?? 'no record')}`]
  })
}
