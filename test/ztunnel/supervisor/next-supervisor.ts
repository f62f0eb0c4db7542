// SPDX-License-Identifier: Apache-2.0
// Both ends of a hand-over between supervisors in one process; with real ones: test/netns/ztunnel-handover.ts.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  HANDOVER_TIMEOUT_MS,
  HANDOVER_VERSION,
  LET_GO_TIMEOUT_MS,
  SERVING_TIMEOUT_MS,
} from '../../../mesh/generations/handover.ts'
import { askForPods, isAnySupervisor } from '../../../mesh/generations/take-over.ts'
import { connectChannel } from '../../../mesh/reactor/channel-sockets.ts'
import {
  createChannelPair,
  DescriptorChannel,
  sendDescriptors,
} from '../../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { readConfig } from '../../../ztunnel/config.ts'
import { listenForNext, type NextSupervisor } from '../../../ztunnel/supervisor/next-supervisor.ts'
import { PodSockets } from '../../../ztunnel/supervisor/pod-sockets.ts'
import { Predecessor } from '../../../ztunnel/supervisor/predecessor.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { socketDirectory } from '../../support/socket-directory.ts'

const PATHS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x']
const { options: config } = readConfig(PATHS, {})
const ADDRESS = `127.99.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}`
const POD = {
  uid: 'u',
  name: 'cart',
  namespace: 'shop',
  serviceAccount: 'cart',
  netns: null,
  address: ADDRESS,
}

interface Lab {
  readonly path: string
  readonly clock: ManualClock
  /** The next one that asks. */
  readonly asking: Promise<NextSupervisor>
}

function openLab(t: Test): Lab {
  const path = join(socketDirectory(t), 'supervisor')
  const clock = new ManualClock()
  const { promise: asking, resolve } = Promise.withResolvers<NextSupervisor>()
  const listener = listenForNext(path, clock, resolve)
  t.teardown(() => listener.close())
  return { path, clock, asking }
}

function send(fd: number, message: object): void {
  sendDescriptors(fd, Buffer.from(JSON.stringify(message)))
}

/** What comes until the other side closes. */
function heard(fd: number): Promise<string[]> {
  return new Promise((resolve) => {
    const lines: string[] = []
    new DescriptorChannel(fd, {
      onMessage: ({ payload }) => lines.push(payload.toString()),
      onClosed: () => resolve(lines),
    })
  })
}

t.test('pods go over with their listeners, and it is told when they are served', async (t) => {
  const { path, asking } = openLab(t)
  const sockets = PodSockets.open(POD, config)
  const asked = askForPods(path)
  const next = await asking
  t.equal(next.pid, process.pid)
  next.give([sockets])
  const got = await asked
  t.same(
    got?.pods.map(({ pod, namespaceFd, listeners }) => [pod, namespaceFd, [...listeners.keys()]]),
    [[POD, null, ['inbound', 'socks5']]],
  )
  sockets.close()
  send(got?.channelFd ?? -1, { type: 'serving' })
  t.equal(await next.isServing, true)
  close(got?.channelFd ?? -1)
  for (const { listeners } of got?.pods ?? []) for (const fd of listeners.values()) close(fd)
})

t.test('a next supervisor that ends, or takes too long, does not serve', async (t) => {
  const gone = openLab(t)
  const asked = askForPods(gone.path)
  const first = await gone.asking
  first.give([])
  close((await asked)?.channelFd ?? -1)
  t.equal(await first.isServing, false)

  const slow = openLab(t)
  const askedSlowly = askForPods(slow.path)
  const second = await slow.asking
  second.give([])
  const { channelFd = -1 } = (await askedSlowly) ?? {}
  slow.clock.advance(SERVING_TIMEOUT_MS)
  let isGone = false
  void second.gone.then(() => (isGone = true))
  const takenBack = Promise.withResolvers<void>()
  const predecessor = new Predecessor(channelFd, {
    onTakenBack: takenBack.resolve,
    onGone: () => t.fail('it has taken its pods back'),
  })
  await takenBack.promise
  predecessor.tellServing()
  slow.clock.advance(LET_GO_TIMEOUT_MS)
  t.equal(await second.isServing, false, 'it serves too late')
  t.notOk(isGone, 'and has not let go yet')
  predecessor.letGo()
  await second.gone
})

t.test('the supervisor before is told, and closes', async (t) => {
  const { path, asking } = openLab(t)
  const asked = askForPods(path)
  const next = await asking
  next.give([])
  const { channelFd = -1 } = (await asked) ?? {}
  const predecessor = new Predecessor(channelFd, {
    onTakenBack: () => t.fail('it is not taken back'),
    onGone: () => t.fail('it had been told'),
  })
  predecessor.tellServing()
  t.equal(await next.isServing, true)
  predecessor.tellServing()
  predecessor.letGo()
})

t.test('a supervisor that ends before it is told is missed, once', async (t) => {
  const [near, far] = createChannelPair()
  const gone = Promise.withResolvers<void>()
  let count = 0
  const predecessor = new Predecessor(near, {
    onTakenBack: () => t.fail('it is not taken back'),
    onGone: () => {
      count++
      gone.resolve()
    },
  })
  t.ok(predecessor.serves)
  close(far)
  await gone.promise
  t.notOk(predecessor.serves)
  predecessor.tellServing()
  predecessor.letGo()
  t.equal(count, 1)
})

t.test('who is refused does not start', async (t) => {
  const { path, asking } = openLab(t)
  const asked = askForPods(path)
  const next = await asking
  next.refuse()
  await t.rejects(asked, { code: 'ALREADY_RUNNING' })
  t.equal(await next.isServing, false)
})

t.test('another version, or nobody who says anything, is not given a pod', async (t) => {
  const other = openLab(t)
  const fd = connectChannel(other.path)
  send(fd, { type: 'take', version: HANDOVER_VERSION + 1 })
  t.same(await heard(fd), ['{"type":"owned"}'])

  const silent = openLab(t)
  const silentFd = connectChannel(silent.path)
  const lines = heard(silentFd)
  while (silent.clock.pendingCount === 0) await new Promise((resolve) => setImmediate(resolve))
  silent.clock.advance(HANDOVER_TIMEOUT_MS)
  t.same(await lines, ['{"type":"owned"}'])
})

t.test('a look whether anybody leads disturbs nobody', async (t) => {
  const { path, asking } = openLab(t)
  t.ok(isAnySupervisor(path))
  t.notOk(isAnySupervisor(`${path}.none`))
  const asked = askForPods(path)
  const next = await asking
  next.give([])
  const got = await asked
  t.same(got?.pods, [])
  close(got?.channelFd ?? -1)
  t.equal(await askForPods(`${path}.none`), null)
})
