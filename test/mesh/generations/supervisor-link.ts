// SPDX-License-Identifier: Apache-2.0
// Both ends of a hand-over in one process; with real ones: test/netns/ztunnel-takeover.ts.
import { once } from 'node:events'
import { closeSync, existsSync, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { ORPHAN_WAIT_MS } from '../../../mesh/generations/handover.ts'
import type { SupervisorMessage } from '../../../mesh/generations/pods.ts'
import { type KeptPod, SupervisorLink } from '../../../mesh/generations/supervisor-link.ts'
import { findGeneration } from '../../../mesh/generations/take-over.ts'
import { ALL_PORTS } from '../../../mesh/net/port-set.ts'
import { createChannelPair, DescriptorChannel } from '../../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { socketDirectory } from '../../support/socket-directory.ts'

const INFO = { uid: 'u1', name: 'front', namespace: 'shop', serviceAccount: 'front' }

interface Lab {
  readonly link: SupervisorLink
  readonly path: string
  readonly clock: ManualClock
  /** Our end of the first supervisor's channel. */
  readonly first: number
  readonly messages: SupervisorMessage[]
  readonly abandoned: { count: number }
  /** Resolves at the next message or end. */
  readonly next: () => Promise<unknown>
}

function openLab(t: Test, keptPods: () => readonly KeptPod[] = () => []): Lab {
  const [first, channelFd] = createChannelPair()
  const path = join(socketDirectory(t), 'handover')
  const clock = new ManualClock()
  const messages: SupervisorMessage[] = []
  const abandoned = { count: 0 }
  const events = new EventTarget()
  const tell = (): boolean => events.dispatchEvent(new Event('next'))
  const link = new SupervisorLink({
    ...{ channelFd, handoverPath: path, clock, log: pino({ level: 'silent' }), keptPods },
    onMessage: (message) => {
      messages.push(message)
      tell()
    },
    onAbandoned: () => {
      abandoned.count++
      tell()
    },
  })
  t.teardown(() => link.end())
  return { link, path, clock, first, messages, abandoned, next: () => once(events, 'next') }
}

/** Until the timer of an orphan runs. */
async function orphaned({ clock }: Lab): Promise<void> {
  while (clock.pendingCount === 0) await wait(5)
}

t.test(
  'the next supervisor is given every pod with its descriptors, and is heard from then on',
  async (t) => {
    const files = [openSync('/proc/self/ns/net', 'r'), openSync('/dev/null', 'r'), openSync('/dev/zero', 'r')]
    const [namespaceFd = -1, outbound = -1, inbound = -1] = files
    const pod = (uid: string, isServed: boolean): KeptPod => ({
      ...{ info: { ...INFO, uid }, isServed, namespaceFd: uid === 'u1' ? namespaceFd : null },
      closedPorts: uid === 'u2' ? null : ALL_PORTS,
      listeners: new Map([
        ['outbound', outbound],
        ['inbound', inbound],
      ]),
    })
    const lab = openLab(t, () => [pod('u1', true), pod('u2', false)])
    lab.link.listen()
    close(lab.first)
    await orphaned(lab)
    const found = await findGeneration(lab.path)
    t.equal(found?.pid, process.pid)
    t.same(
      found?.pods.map(({ pod, listeners }) => [pod, [...listeners.keys()]]),
      [
        [{ ...INFO, uid: 'u1' }, ['outbound', 'inbound']],
        [{ ...INFO, uid: 'u2' }, ['outbound', 'inbound']],
      ],
    )
    const inodes = (fds: readonly (number | null)[]): (number | null)[] =>
      fds.map((fd) => (fd === null ? null : fstatSync(fd).ino))
    t.same(
      found?.pods.map(({ namespaceFd, listeners }) => inodes([namespaceFd, ...listeners.values()])),
      [inodes(files), [null, ...inodes([outbound, inbound])]],
    )
    const heard: unknown[] = []
    const channel = new DescriptorChannel(found?.channelFd ?? -1, {
      onMessage: ({ payload }) => heard.push(JSON.parse(payload.toString())),
      onClosed: () => {},
    })
    channel.send(Buffer.from('{"type":"snapshot-sent"}'))
    await lab.next()
    t.same(lab.messages, [{ type: 'snapshot-sent' }])
    const ports = ALL_PORTS
    const said = [
      { type: 'pod-ready', uid: 'u1' },
      { type: 'closed-ports', uid: 'u1', ports },
    ]
    t.same(heard, said, 'who is served is said again, and what is closed')
    t.equal(lab.clock.pendingCount, 0, 'nobody waits for a supervisor any more')
    channel.close()
    await orphaned(lab)
    t.pass('and so on')
    for (const fd of files) closeSync(fd)
    for (const { namespaceFd, listeners } of found?.pods ?? [])
      for (const fd of [namespaceFd, ...listeners.values()]) if (fd !== null) close(fd)
  },
)

t.test('a process that has a supervisor is not given to another one', async (t) => {
  const lab = openLab(t)
  lab.link.listen()
  await t.rejects(findGeneration(lab.path), { code: 'ALREADY_RUNNING' })
  lab.link.send({ type: 'ready' })
  t.equal(lab.abandoned.count, 0)
  close(lab.first)
  await orphaned(lab)
})

t.test('where nobody waits there is nothing to take over', async (t) => {
  const lab = openLab(t)
  t.equal(await findGeneration(lab.path), null)
  lab.link.listen()
  t.ok(existsSync(lab.path))
  lab.link.end()
  t.notOk(existsSync(lab.path), 'a process that is about to end waits for nobody')
  t.equal(await findGeneration(lab.path), null)
  close(lab.first)
  await lab.next()
  t.equal(lab.abandoned.count, 1, 'its supervisor’s end is its own')
})

t.test('an orphan waits for a limited time', async (t) => {
  const lab = openLab(t)
  lab.link.listen()
  close(lab.first)
  await orphaned(lab)
  lab.clock.advance(ORPHAN_WAIT_MS - 1)
  t.equal(lab.abandoned.count, 0)
  lab.clock.advance(1)
  t.equal(lab.abandoned.count, 1)
  t.equal(await findGeneration(lab.path), null, 'nobody can take it over any more')
})
