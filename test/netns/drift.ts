// SPDX-License-Identifier: Apache-2.0
// What others damage of a pod's redirection is found and mended; what they add of their own is left alone.
import { execFileSync } from 'node:child_process'
import { type LogFn, pino } from 'pino'
import t, { type Test } from 'tap'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { readConfig } from '../../ztunnel/config.ts'
import { EnrolledPods } from '../../ztunnel/supervisor/enroll/enrolled-pods.ts'
import { findRuleDrift, redirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { acceptFrom, connectFrom, createLab } from '../support/lab.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { poll } from '../support/mesh-lab.ts'

const SPEC = {
  nodes: [
    {
      name: 'n1',
      pods: [
        { name: 'a', ip: '10.1.0.2', ip6: 'fd00:1::2' },
        { name: 'b', ip: '10.1.0.3', ip6: 'fd00:1::3' },
      ],
    },
  ],
}
const RULES = redirectRules({ dnsFamilies: [4, 6] })
const FLAGS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x']

const run = (namespace: NetworkNamespace, command: string): string =>
  namespace.run(() => execFileSync('sh', ['-c', command], { encoding: 'utf8' }))

function openLab(t: Test) {
  const network = createLab(t, SPEC)
  const [a, b] = [network.pod('a').namespace, network.pod('b').namespace]
  const calls: string[] = []
  const logged: string[] = []
  const log = pino({
    level: 'error',
    hooks: {
      logMethod([fields]: Parameters<LogFn>) {
        logged.push(JSON.stringify(fields))
      },
    },
  })
  const clock = new ManualClock()
  const pods = new EnrolledPods(readConfig(FLAGS, {}).options, clock, log, {
    onAdded: ({ pod }) => calls.push(`+${pod.uid}`),
    onRemoved: (uid) => calls.push(`-${uid}`),
    onLeaving: (uid) => calls.push(`leaving ${uid}`),
    onReturned: ({ pod }) => calls.push(`returned ${pod.uid}`),
    onKept: (uid) => calls.push(`kept ${uid}`),
    onMended: (uid) => calls.push(`mended ${uid}`),
  })
  t.teardown(() => pods.close())
  const podAt = (uid: string, namespace: NetworkNamespace) => ({
    ...{ uid, name: uid, namespace: 'shop', serviceAccount: uid, address: null, netns: namespace.path },
  })
  pods.list([podAt('a', a), podAt('b', b)])
  calls.length = 0
  return { a, b, clock, pods, calls, logged }
}

/** Damage, and what is said of it. */
const DAMAGE: readonly (readonly [string, RegExp])[] = [
  ['nft flush ruleset', /table sidestep-mangle is gone/],
  ['nft delete table inet sidestep-nat', /table sidestep-nat is gone/],
  ['nft flush chain inet sidestep-nat output', /table sidestep-nat was changed/],
  ['nft insert rule inet sidestep-nat output accept', /table sidestep-nat was changed/],
  ['nft add rule inet sidestep-mangle output drop', /table sidestep-mangle was changed/],
  ["nft 'chain inet sidestep-nat output { policy drop ; }'", /table sidestep-nat was changed/],
  ['ip rule del priority 32764', /rule for mark 273 is gone \(IPv4\)/],
  ['ip -6 rule del priority 32764', /rule for mark 273 is gone \(IPv6\)/],
  ['ip route flush table 100', /route 0\.0\.0\.0\/0 of table 100 is gone/],
  ['ip -6 route flush table 100', /route ::\/0 of table 100 is gone/],
]

t.test('every damage of the rules is found, told and mended; the other pod is left alone', async (t) => {
  const { a, b, pods, calls, logged } = openLab(t)
  await pods.checkDrift()
  t.same([calls, logged], [[], []], 'whole as it was made')
  for (const [command, said] of DAMAGE) {
    run(a, command)
    t.match(findRuleDrift(a, RULES), said, command)
    await pods.checkDrift()
    t.equal(findRuleDrift(a, RULES), null, command)
    t.same(calls.splice(0), ['mended a'], 'its listeners stay')
    t.match(logged.at(-1), 'NOT_ENROLLED')
    t.match(logged.at(-1), said)
  }
  t.equal(logged.length, DAMAGE.length, 'once each')
  t.equal(findRuleDrift(b, RULES), null)
})

t.test('flushed tables are mended in a moment, before their time comes', async (t) => {
  const { a, clock, calls } = openLab(t)
  for (let round = 0; round < 3; round++) {
    run(a, 'nft flush ruleset')
    await poll('mended', () => {
      clock.advance(500)
      return calls.splice(0).includes('mended a') || null
    })
    t.equal(findRuleDrift(a, RULES), null)
  }
  run(a, 'nft add table inet theirs')
  for (let looks = 0; looks < 10; looks++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    clock.advance(500)
  }
  t.same(calls, [], 'what others do beside it is looked at, and left alone')
})

t.test('rules of others stay, and are no damage', async (t) => {
  const { a, pods, calls } = openLab(t)
  run(a, 'nft add table inet theirs; nft add chain inet theirs c; ip rule add priority 100 table 200')
  await pods.checkDrift()
  t.same(calls, [])
  run(a, 'nft delete table inet sidestep-nat')
  await pods.checkDrift()
  t.match(run(a, 'nft list tables'), /theirs/)
  t.match(run(a, 'ip rule'), /lookup 200/)
})

t.test('a lost listener is opened again, with its pod', async (t) => {
  const { a, b, pods, calls, logged } = openLab(t)
  run(a, 'ss -K -ltn sport = 15008')
  t.ok(connectFrom(b, '10.1.0.2', 15_008, { mark: 0x539 }) < 0, 'nobody listens')
  await pods.checkDrift()
  t.same(calls, ['-a', '+a', 'mended a'])
  t.match(logged.at(-1), /nobody listens on 15008/)
  const client = connectFrom(b, '10.1.0.2', 15_008, { mark: 0x539 })
  const sockets = [...pods.served].find(({ pod }) => pod.uid === 'a')
  const accepted = acceptFrom(sockets?.listeners.get('inbound') ?? -1)
  t.ok(client > 0 && accepted > 0)
  for (const fd of [client, accepted]) close(fd)
  t.equal(findRuleDrift(a, RULES), null)
})
