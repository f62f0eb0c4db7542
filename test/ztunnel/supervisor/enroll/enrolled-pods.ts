// SPDX-License-Identifier: Apache-2.0
// With pods that share the machine's namespace; test/netns has those with one of their own.
import { closeSync, fstatSync, openSync } from 'node:fs'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { readConfig, type ZtunnelConfig } from '../../../../ztunnel/config.ts'
import { EnrolledPods } from '../../../../ztunnel/supervisor/enroll/enrolled-pods.ts'
import type { EnrolledPod } from '../../../../ztunnel/supervisor/enrolment-file.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const OPTIONS = ['--config-file', 'c', '--ca-directory', 'd', '--enrolment-file', 'e', '--redirect', 'false']
/** An address that no machine has. SPEC RFC 5737. */
const NOWHERE = '203.0.113.1'

const pod = (uid: string, address: string): EnrolledPod => ({
  ...{ uid, name: uid, namespace: 'shop', serviceAccount: uid, netns: null, address },
})

function openLab(t: Test, more: readonly string[] = []) {
  const config: ZtunnelConfig = readConfig([...OPTIONS, ...more], {}).options
  const clock = new ManualClock()
  const calls: string[] = []
  const pods = new EnrolledPods(config, clock, pino({ level: 'silent' }), {
    onAdded: (sockets) => calls.push(`+${sockets.pod.uid}`),
    onRemoved: (uid) => calls.push(`-${uid}`),
    onLeaving: (uid) => calls.push(`leaving ${uid}`),
    onReturned: ({ pod }) => calls.push(`returned ${pod.uid}`),
    onKept: (uid) => calls.push(`kept ${uid}`),
    onMended: (uid) => calls.push(`mended ${uid}`),
  })
  t.teardown(() => pods.close())
  return { pods, calls, clock, uids: () => [...pods.served].map((sockets) => sockets.pod.uid).toSorted() }
}

t.test('what the file names is served, and nothing else', async (t) => {
  const { pods, calls, uids } = openLab(t)
  pods.list([pod('a', '127.77.1.1'), pod('b', '127.77.1.2')])
  t.same(uids(), ['a', 'b'])
  pods.list([pod('b', '127.77.1.2'), pod('c', '127.77.1.3')])
  t.same(uids(), ['b', 'c'])
  pods.list([{ ...pod('b', '127.77.1.2'), serviceAccount: 'other' }])
  t.same(
    calls,
    ['+a', '+b', 'leaving a', '+c', '-b', 'leaving c', '+b'],
    'what changed is begun anew, what stayed is left alone',
  )
  t.equal(pods.count, 1)
  pods.close()
  t.equal(pods.count, 0)
})

t.test('the ztunnel’s own pod is served whatever the sources say', async (t) => {
  const flags = ['--status-port', '1', '--pod-name', 'z', '--service-account', 'z', '--instance-ip']
  const { pods, uids } = openLab(t, [...flags, '127.77.4.1'])
  const own = 'sidestep.dev/ztunnel'
  pods.begin()
  t.same(uids(), [own])
  pods.list([pod('a', '127.77.4.2')])
  pods.list([])
  t.same(uids(), [own])

  await t.test('one of a process before is kept when it is the same, and else gives way', async (t) => {
    const [found] = [...pods.served].map((sockets) => ({
      ...{ pod: sockets.pod, namespaceFd: null },
      listeners: new Map([...sockets.listeners].map(([kind]) => [kind, openSync('/dev/null', 'r')] as const)),
    }))
    if (found === undefined) throw new Error('nobody is served')
    const same = openLab(t, [...flags, '127.77.4.1'])
    same.pods.keep([found])
    same.pods.begin()
    t.same(same.calls, [])
    const other = openLab(t, [...flags, '127.77.4.3'])
    other.pods.keep([{ ...found, listeners: new Map() }])
    other.pods.begin()
    t.same(other.calls, [`-${own}`, `+${own}`], 'at its own address')
    const none = openLab(t)
    none.pods.keep([{ ...found, listeners: new Map() }])
    none.pods.begin()
    t.same(none.calls, [`leaving ${own}`])
  })
})

t.test('a pod that leaves is gone when it says so, when its time is over, or when it is back', async (t) => {
  const { pods, calls, clock } = openLab(t)
  const all = ['127.77.3.1', '127.77.3.2', '127.77.3.3'].map((address, index) => pod(`p${index}`, address))
  pods.list(all)
  pods.list([])
  calls.length = 0
  pods.onLeft('p0')
  pods.onLeft('p0')
  t.same(calls.splice(0), ['-p0'])
  pods.list(all.slice(1, 2))
  t.same(calls.splice(0), ['-p1', '+p1'])
  clock.advance(5_000)
  t.same(calls.splice(0), ['-p2'])
  t.equal(clock.pendingCount, 0)
})

t.test('a pod that cannot be served is tried every second, and disturbs no other', async (t) => {
  const { pods, calls, clock, uids } = openLab(t)
  pods.list([pod('lost', NOWHERE), pod('a', '127.77.2.1')])
  t.same(uids(), ['a'])
  t.equal(clock.nextDelayMs, 1_000)
  clock.advance(1_000)
  t.equal(clock.nextDelayMs, 1_000, 'again')
  pods.list([pod('lost', '127.77.2.2'), pod('a', '127.77.2.1')])
  t.same(uids(), ['a', 'lost'])
  t.equal(clock.pendingCount, 0, 'nothing is left to try')
  t.same(calls, ['+a', '+lost'])
})

t.test('a namespace that an agent hands over is kept open as long as its pod is wanted', async (t) => {
  const { pods, uids } = openLab(t)
  const isOpen = (fd: number): boolean => {
    try {
      fstatSync(fd)
      return true
    } catch {
      return false
    }
  }
  const info = { uid: 'a', name: 'a', namespace: 'shop', serviceAccount: 'a' }
  const file = openSync('/etc/hostname', 'r')
  const failure = await pods.add(info, file)
  t.match(failure, /^(NAMESPACE_GONE|MISSING_CAPABILITY|SYSTEM_CALL): /, 'a file is no namespace')
  t.same(uids(), [])
  t.ok(isOpen(file), 'it is tried again')
  const again = openSync('/etc/hostname', 'r')
  await pods.add(info, again)
  t.notOk(isOpen(again), 'the same thing twice is kept once')
  t.ok(isOpen(file))
  const other = openSync('/etc/hosts', 'r')
  await pods.add(info, other)
  t.notOk(isOpen(file), 'another one replaces it')
  pods.retain(new Set(['a']))
  t.ok(isOpen(other))
  pods.retain(new Set())
  t.notOk(isOpen(other))
  pods.remove('a')
  const last = openSync('/etc/hosts', 'r')
  await pods.add(info, last)
  pods.close()
  t.notOk(isOpen(last), 'nothing is left open in the end')
  t.throws(() => closeSync(last))
})
