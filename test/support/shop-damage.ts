// SPDX-License-Identifier: Apache-2.0
// What the shop lives through when its nodes lose something: the rules of pods, the tables of a node, a whole node. Three
// steps of its story. What is damaged until it is mended is bounded; a strict pod takes nothing in plain text meanwhile.
import { spawnSync } from 'node:child_process'
import type { Test } from 'tap'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { poll } from './mesh-lab.ts'
import { processOf } from './pod-processes.ts'
import type { LogLine, Mark, Outcome, Shop, ShopPod } from './shop.ts'
import { SHOP, STRICT_CART } from './shop-objects.ts'
import type { ShopStory } from './shop-outages.ts'

const WAIT_MS = 60_000
/** Rules and tables are there again within this; pods of a node are enrolled so soon after its ztunnel is ready. */
const MENDED_MS = 15_000
/** From the loss of power until all is as it was. */
const REBOOT_MS = 120_000
/** A look at a pod, and a request that was under way. */
const SPARE_MS = 2_000
/** Without their rules pods are as if there were no mesh: what fails are connections that were open. */
const MOST_FAILED_AT_FLUSH = 40
/** Of a node; the members that run there. */
const NODE = 'node2'
const TABLES = ['sidestep-guard', 'sidestep-probes'] as const

/** What a pod outside of the mesh was answered by cart. */
function plainlyAnswered({ shop }: ShopStory, mark: Mark): readonly Outcome[] {
  return shop
    .since(mark)
    .filter(({ caller, target, error }) => caller !== 'front' && target === 'cart' && error === null)
}

/** From now on cart takes nothing in plain text; done when both outsiders notice, and nothing of before is under way. */
async function makeStrict(story: ShopStory): Promise<Mark> {
  const { cluster, shop } = story
  const before = shop.mark()
  await cluster.apply(STRICT_CART)
  await poll(
    'both outsiders are refused',
    () => {
      const refused = shop.since(before).filter(({ target, error }) => target === 'cart' && error !== null)
      return new Set(refused.map(({ caller }) => caller)).size === 2 || null
    },
    WAIT_MS,
  )
  return shop.mark()
}

async function makePermissive({ cluster, shop }: ShopStory): Promise<void> {
  await cluster.kubectl('-n', SHOP, 'delete', 'peerauthentication', 'strict')
  await shop.goesOn(shop.mark())
}

/** Connections of members in plain text: a leak. */
async function leaks({ shop }: ShopStory, sinceMs: number): Promise<readonly LogLine[]> {
  const pods = await shop.members()
  const isOfMember = (address: unknown): boolean => pods.some(({ ip }) => `${address}`.startsWith(`${ip}:`))
  return (await shop.records(sinceMs)).filter(
    (record) =>
      record.transport !== 'HBONE' && isOfMember(record['src.addr']) && isOfMember(record['dst.addr']),
  )
}

/** The rules inside all pods of a node are flushed. */
export async function standFlush(t: Test, story: ShopStory): Promise<void> {
  const { shop } = story
  await shop.untilRedirection('enabled')
  const strictSince = await makeStrict(story)
  const before = shop.mark()
  const pods = (await shop.members()).filter(({ node }) => node === NODE)
  const whole = pods.map((pod) => shop.tracesIn(pod))
  const flushedMs = Date.now()
  for (const { uid } of pods) shop.inNetwork(uid, 'nft flush ruleset')
  await poll(
    'all are whole',
    () => pods.every((pod, at) => shop.tracesIn(pod) === whole[at]) || null,
    WAIT_MS,
  )
  const mendedMs = Date.now()
  t.ok(mendedMs - flushedMs <= MENDED_MS, `${mendedMs - flushedMs} ms`)
  const ofMembers = (outcome: Outcome): boolean => outcome.caller === 'front'
  await shop.goesOn(shop.mark(), ofMembers)
  const failed = shop.since(before).filter((each) => ofMembers(each) && each.error !== null)
  t.ok(
    failed.length <= MOST_FAILED_AT_FLUSH,
    failed.map(({ target, error }) => `${target}: ${error}`).join('\n'),
  )
  t.same(
    failed.filter(({ startedMs }) => startedMs > mendedMs + SPARE_MS),
    [],
    'none that began when all was mended',
  )
  const plain = await leaks(story, flushedMs)
  t.same(
    plain.filter(({ time }) => Date.parse(`${time}`) > mendedMs + SPARE_MS),
    [],
    'and no plain text from then on',
  )
  t.same(plainlyAnswered(story, strictSince), [], 'a strict pod has taken nothing in plain text')
  t.comment(
    `mended after ${mendedMs - flushedMs} ms; ${failed.length} requests failed, ${plain.length} went in plain text`,
  )
  const told = (await shop.log(flushedMs)).filter(({ reason }) => reason === 'NOT_ENROLLED')
  t.same(new Set(told.map(({ pod }) => pod)), new Set(pods.map(({ name }) => name)))
  await makePermissive(story)
  t.same(await shop.goesOn(shop.mark()), [])
}

/** The tables of the node itself are deleted: those that let the kubelet's probes through, and the guard of strict pods. */
export async function standLostTables(t: Test, story: ShopStory): Promise<void> {
  const { cluster, shop } = story
  const strictSince = await makeStrict(story)
  const before = shop.mark()
  const node = NetworkNamespace.open(cluster.networkOf(NODE))
  const nft = (...args: readonly string[]) =>
    node.run(() => spawnSync('nft', [...args], { encoding: 'utf8' }))
  const tables = (): string => nft('list', 'tables').stdout
  const ready = await shop.readiness()
  for (const table of TABLES) t.match(tables(), `table inet ${table}`)
  const deletedMs = Date.now()
  for (const table of TABLES) t.equal(nft('delete', 'table', 'inet', table).status, 0, table)
  await poll('both are back', () => TABLES.every((table) => tables().includes(table)) || null, WAIT_MS)
  const tookMs = Date.now() - deletedMs
  t.ok(tookMs <= MENDED_MS, `${tookMs} ms`)
  t.comment(`back after ${tookMs} ms`)
  // Each pod has been asked by its kubelet in the meantime, with and without the tables: cart forgives ten seconds.
  await poll('ten seconds', () => Date.now() - deletedMs > 10_000 || null, WAIT_MS)
  t.equal(await shop.readiness(), ready, 'every pod was ready all the time')
  t.same(await shop.goesOn(before, ({ caller }) => caller === 'front'), [], 'no member has noticed')
  t.same(plainlyAnswered(story, strictSince), [], 'a strict pod has taken nothing in plain text')
  await makePermissive(story)
}

/** A node loses its power, and starts again. */
export async function standReboot(t: Test, story: ShopStory): Promise<void> {
  const { cluster, shop } = story
  const strictSince = await makeStrict(story)
  const before = (await shop.members()).filter(({ node }) => node === NODE)
  const mains = new Map(before.map(({ name, uid }) => [name, shop.firstProcessOf(uid)]))
  const lostMs = Date.now()
  await cluster.reboot(NODE)
  t.comment(`its programs start again after ${Date.now() - lostMs} ms`)
  const { uid } = await shop.ztunnelOf(NODE)
  const startedMs = await poll(
    'its ztunnel',
    () => hasProcess(uid, '/ztunnel/main.ts') && Date.now(),
    REBOOT_MS,
  )
  const pods = (await shop.members()).filter(({ node }) => node === NODE)
  t.same(new Set(pods.map(({ name }) => name)), new Set(mains.keys()), 'the same pods')
  await poll(
    'every pod is started anew, and enrolled',
    () => pods.every((pod) => isEnrolledAnew(shop, pod, mains.get(pod.name))) || null,
    REBOOT_MS,
  )
  const enrolledMs = Date.now()
  t.ok(enrolledMs - startedMs <= MENDED_MS, `${enrolledMs - startedMs} ms after its ztunnel runs`)
  t.comment(
    `enrolled ${enrolledMs - lostMs} ms after the loss, ${enrolledMs - startedMs} ms after its ztunnel runs`,
  )
  const isOfFront = ({ caller }: Outcome): boolean => caller === 'front'
  await poll(
    'front is answered by all',
    async () => {
      try {
        return (await shop.goesOn(shop.mark(), isOfFront)).length === 0 || null
      } catch {
        return null
      }
    },
    REBOOT_MS,
  )
  const leaked = await leaks(story, lostMs)
  const plain = plainlyAnswered(story, strictSince)
  t.same(leaked, [], 'no plain text between members')
  t.same(plain, [], 'a strict pod has taken nothing in plain text')
  t.ok(await outsidersAsk(story), 'though they ask')
  await makePermissive(story)
}

/** Waits until both outsiders are refused again: who does not ask is not refused. */
async function outsidersAsk({ shop }: ShopStory): Promise<boolean> {
  const mark = shop.mark()
  return await poll(
    'they are refused',
    () => {
      const refused = shop.since(mark).filter(({ target, error }) => target === 'cart' && error !== null)
      return (
        new Set(refused.map(({ caller }) => caller).filter((caller) => caller !== 'front')).size === 2 || null
      )
    },
    WAIT_MS,
  )
}

/** Its first process is another one than `before`, and the rules stand. A process may end between two looks. */
function isEnrolledAnew(shop: Shop, pod: ShopPod, before: number | null | undefined): boolean {
  const first = shop.firstProcessOf(pod.uid)
  if (first === null || first === before) return false
  try {
    return shop.tracesIn(pod).includes('table inet sidestep')
  } catch {
    return false
  }
}

function hasProcess(uid: string, part: string): true | null {
  try {
    processOf(uid, part)
    return true
  } catch {
    return null
  }
}
