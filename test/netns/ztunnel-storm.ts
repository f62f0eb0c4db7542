// SPDX-License-Identifier: Apache-2.0
// Pods that come and go at random moments, with their networks, while they open connections: each is made, shown, enrolled,
// hidden and ended in an order of its own. Nothing of them is left, and all that is named is that networks are gone.
import { readdirSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { AF_INET, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { close, connect, socket } from '../../mesh/reactor/ffi/libc.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { encodeSocketAddress } from '../../mesh/reactor/socket-address.ts'
import { foreignDescriptors } from '../support/foreign-descriptors.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { poll } from '../support/mesh-lab.ts'
import { openWatchedNode, tablesIn, type WatchedNode, type WatchedPod } from '../support/watched-node.ts'

t.setTimeout(180_000)
const POD_COUNT = 50
/** Alive at once. */
const LANES = 10
/** Longest time between two steps in the life of a pod. */
const STEP_MS = 400
const CONNECTS = 4
const ipOf = (index: number): string => `10.1.1.${index + 1}`
const MESH = `workloads:\n${Array.from(
  { length: POD_COUNT },
  (_, index) =>
    `- {uid: p${index}, name: p${index}, namespace: shop, serviceAccount: p${index}, trustDomain: cluster.local, ` +
    `workloadIps: ["${ipOf(index)}"], protocol: HBONE, node: n1, services: {}}\n`,
).join('')}services: []\npolicies: []\n`

/** Connects that nobody waits for. */
function connectSome(namespace: NetworkNamespace, ip: string): number[] {
  return Array.from({ length: CONNECTS }, (_, index) => {
    const fd = namespace.run(() => socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))
    const target = encodeSocketAddress(ip, 8000 + index)
    connect(fd, target.address, target.bytes)
    return fd
  })
}

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000)

/** A linear congruential generator: the same moments for the same seed, as far as a machine keeps them. */
function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

const openCount = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length

/** So many pods come and go; gives how many of them were seen enrolled. */
async function storm(node: WatchedNode, podCount: number, random: () => number): Promise<number> {
  const pause = (): Promise<void> => wait(random() * STEP_MS)
  const { ip } = node.network.node('n1')
  let enrolledCount = 0
  const live = async (index: number): Promise<void> => {
    const pod: WatchedPod = node.startPod(`p${index}`, ipOf(index))
    const open: number[] = []
    const connectNow = (): void => void open.push(...connectSome(pod.namespace, ip))
    const [isShownLate, isHiddenLate] = [random() < 0.3, random() < 0.5]
    if (!isShownLate) pod.show()
    await pause()
    connectNow()
    if (isShownLate) pod.show()
    await pause()
    if (tablesIn(pod.namespace).includes('sidestep')) enrolledCount++
    connectNow()
    if (!isHiddenLate) pod.hide()
    if (random() < 0.5) await pause()
    // Its own sockets would keep the network.
    for (const fd of open) close(fd)
    await pod.end()
    if (isHiddenLate) await pause()
    if (isHiddenLate) pod.hide()
  }
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < podCount) await live(next++)
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return enrolledCount
}

/** Reasons, and how often. */
function counted(reasons: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1
  return counts
}

t.test(`${POD_COUNT} pods come and go at random moments`, async (t) => {
  t.comment(`SEED=${SEED}`)
  const random = seededRandom(SEED)
  const node = await openWatchedNode(t, labDirectory(t), MESH)
  await node.withZtunnel(null, async ({ log, metrics, records, pids }) => {
    const untilNoneIsServed = async (): Promise<void> => {
      await poll('none is served', async () => {
        const text = await metrics().catch(() => '')
        return /^workload_manager_active_proxy_count 0$/m.test(text) || null
      })
      await poll(
        'no rules on the node',
        () => tablesIn(node.network.node('n1').namespace) === '' || null,
        15_000,
      )
    }
    const kept = node.startPod('p0', ipOf(0))
    kept.show()
    await poll('a pod is seen as open', async () =>
      pids().length === 2 && pids().every((pid) => foreignDescriptors(pid).length > 0) ? true : null,
    )
    connectSome(kept.namespace, node.network.node('n1').ip).forEach(close)
    kept.hide()
    await kept.end()
    await untilNoneIsServed()
    const before = pids().map(openCount)

    const enrolledCount = await storm(node, POD_COUNT, random)
    t.comment(`${enrolledCount} of ${POD_COUNT} were seen enrolled`)
    t.ok(enrolledCount > 0)
    await untilNoneIsServed()
    await poll(
      'no network of a pod, and no socket in one, is open',
      () => pids().every((pid) => foreignDescriptors(pid).length === 0) || null,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(pids().map(foreignDescriptors))}`)
    })
    for (const [index, pid] of pids().entries()) {
      const count = openCount(pid)
      const known = before[index] ?? 0
      // Connections to the apiserver and threads of the process come and go.
      t.ok(count < known + POD_COUNT / 2, `descriptors: ${known} before, ${count} after`)
    }
    t.notMatch(await metrics(), /^sidestep_pods_not_enrolled\{/m)
    t.match(await metrics(), /^sidestep_workers_lost_total 0$/m)

    const named = counted([...log().matchAll(/"reason":"(\w+)"/g)].map(([, reason = '']) => reason))
    const told = counted(node.events.map(({ message }) => message.split(':')[0] ?? ''))
    const ends = counted((await records()).map(({ reason }) => String(reason)))
    t.comment(JSON.stringify({ log: named, events: told, records: ends }))
    for (const reasons of [named, told])
      t.same(
        Object.keys(reasons).filter((reason) => reason !== 'NAMESPACE_GONE'),
        [],
        'what is named is networks that are gone',
      )
    // Nobody listens there; and a network that loses its link has no way anywhere before it goes itself.
    const known = ['ENDPOINT_REFUSED', 'ENDPOINT_GONE', 'NETWORK_UNREACHABLE', 'NAMESPACE_GONE']
    t.same(
      Object.keys(ends).filter((reason) => !known.includes(reason)),
      [],
    )
  })
})
