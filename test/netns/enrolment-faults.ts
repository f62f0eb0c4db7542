// SPDX-License-Identifier: Apache-2.0
// What goes wrong while pods are enrolled has a code, leaves nothing behind, and ends by itself when its cause does.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type LogFn, pino } from 'pino'
import t, { type Test } from 'tap'
import { allocateBlock, bindFunction, openLibrary } from '../../mesh/reactor/ffi/native.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { systemError } from '../../mesh/reactor/socket-options.ts'
import { readConfig } from '../../ztunnel/config.ts'
import { EnrolledPods } from '../../ztunnel/supervisor/enroll/enrolled-pods.ts'
import { findRuleDrift, redirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { PodSockets } from '../../ztunnel/supervisor/pod-sockets.ts'
import { createLab } from '../support/lab.ts'
import { ManualClock } from '../support/manual-clock.ts'

t.setTimeout(60_000)
const FLAGS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x']
const { options: config } = readConfig(FLAGS, {})
const SPEC = { nodes: [{ name: 'n1', pods: [{ name: 'b', ip: '10.1.0.3', ip6: 'fd00:1::3' }] }] }
const RULES = redirectRules({ dnsFamilies: [4, 6] })
const POD = { uid: 'u', name: 'b', namespace: 'shop', serviceAccount: 'b' }
const CHILD = fileURLToPath(new URL('../support/enrol-forever.ts', import.meta.url))

const run = (namespace: NetworkNamespace, command: string): string =>
  namespace.run(() => execFileSync('sh', ['-c', command], { encoding: 'utf8' }))
const traces = (namespace: NetworkNamespace): string =>
  run(namespace, 'nft list ruleset; ip rule; ip route show table all | grep "table 100"; ss -Hltn')

function openLab(t: Test) {
  const { namespace } = createLab(t, SPEC).pod('b')
  const clock = new ManualClock()
  const reasons: unknown[] = []
  const log = pino({
    level: 'warn',
    hooks: {
      logMethod([fields]: Parameters<LogFn>) {
        reasons.push(/"reason":"(\w+)"/.exec(JSON.stringify(fields))?.[1])
      },
    },
  })
  const pods = new EnrolledPods(config, clock, log, {
    ...{
      onAdded: () => {},
      onRemoved: () => {},
      onLeaving: () => {},
      onReturned: () => {},
      onKept: () => {},
      onMended: () => {},
    },
  })
  t.teardown(() => pods.close())
  return { namespace, clock, pods, reasons, hand: () => pods.add(POD, openSync(namespace.path, 'r')) }
}

const openFds = (): number[] => readdirSync('/proc/self/fd').map(Number)
const RLIMIT_NOFILE = 7
const setrlimit = bindFunction<(resource: number, limits: number) => number>(
  openLibrary(null),
  'int setrlimit(int, uintptr_t)',
)
/** How many descriptors this process may have: soft and hard. */
function limits(): number[] {
  const found = /^Max open files +(\d+) +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))
  return (found ?? []).slice(1).map(Number)
}
function setLimit(soft: number, hard: number): void {
  const block = allocateBlock(16)
  block.bytes.writeBigUInt64LE(BigInt(soft), 0)
  block.bytes.writeBigUInt64LE(BigInt(hard), 8)
  if (setrlimit(RLIMIT_NOFILE, block.address) !== 0) throw systemError('setrlimit')
}

/** Signs of other meshes, and what takes them away. */
const FOREIGN: readonly (readonly [string, string, string])[] = [
  [
    'add table inet istio-ambient-nat; add chain inet istio-ambient-nat prerouting',
    'istio-ambient-nat/prerouting',
    'delete table inet istio-ambient-nat',
  ],
  ['add table ip nat; add chain ip nat ISTIO_OUTPUT', 'nat/ISTIO_OUTPUT', 'delete table ip nat'],
  ['add table ip6 mangle; add chain ip6 mangle ISTIO_PRERT', 'mangle/ISTIO_PRERT', 'delete table ip6 mangle'],
  [
    'add table ip nat; add chain ip nat PROXY_INIT_REDIRECT',
    'nat/PROXY_INIT_REDIRECT',
    'delete table ip nat',
  ],
]

for (const [add, sign, remove] of FOREIGN)
  t.test(`a pod that another mesh redirects is left alone until it does not: ${sign}`, async (t) => {
    const { namespace, clock, pods, hand } = openLab(t)
    run(namespace, `nft '${add}'`)
    const before = traces(namespace)
    t.equal(await hand(), `FOREIGN_REDIRECTION: ${sign}`)
    t.equal(traces(namespace), before)
    clock.advance(1_000)
    t.equal(pods.count, 0)
    run(namespace, `nft '${remove}'`)
    clock.advance(1_000)
    t.equal(pods.count, 1)
    t.equal(findRuleDrift(namespace, RULES), null)
  })

t.test('rules that are nobody’s mesh are no hindrance', async (t) => {
  const { namespace, hand } = openLab(t)
  run(namespace, "nft 'add table ip nat; add chain ip nat KUBE-SERVICES; add table inet calico-istio'")
  t.equal(await hand(), null)
})

t.test('without descriptors a pod waits, and leaves nothing of what was done', async (t) => {
  const { namespace, clock, pods, hand, reasons } = openLab(t)
  const [soft = 0, hard = 0] = limits()
  t.teardown(() => setLimit(soft, hard))
  const before = traces(namespace)
  t.equal(await hand(), null, 'what is opened once is opened')
  pods.remove('u')
  const handed = openSync(namespace.path, 'r')
  const filler: number[] = []
  for (const highest = Math.max(...openFds()); (filler.at(-1) ?? 0) <= highest; )
    filler.push(openSync('/dev/null', 'r'))
  const first = (filler.at(-1) ?? 0) + 1
  setLimit(first, hard)
  const failure = await pods.add(POD, handed)
  // From none that is free to all that are needed: it fails at every step on the way.
  let free = 0
  while (pods.count === 0 && free < 40) {
    setLimit(first + ++free, hard)
    clock.advance(1_000)
  }
  setLimit(soft, hard)
  for (const fd of filler) closeSync(fd)
  t.match(failure, /^OUT_OF_DESCRIPTORS: /)
  t.ok(free > 5 && pods.count === 1, `${free} were needed`)
  t.same([...new Set(reasons)], ['OUT_OF_DESCRIPTORS'])
  t.equal(findRuleDrift(namespace, RULES), null)
  pods.remove('u')
  t.equal(traces(namespace), before)
})

t.test('a supervisor that lacks a capability says so for each pod', async (t) => {
  const { namespace } = createLab(t, SPEC).pod('b')
  const script = `
    const { readConfig } = await import('./ztunnel/config.ts')
    const { PodSockets } = await import('./ztunnel/supervisor/pod-sockets.ts')
    const { options } = readConfig(${JSON.stringify(FLAGS)}, {})
    const pod = ${JSON.stringify({ ...POD, address: null, netns: '/proc/self/fd/3' })}
    try { PodSockets.open(pod, options); console.log('enrolled') } catch (error) { console.log(error.code) }`
  const before = traces(namespace)
  for (const capability of ['net_admin', 'sys_admin']) {
    const drop = ['PATH=/usr/bin:/bin', 'setpriv', `--bounding-set=-${capability}`]
    const node = [process.execPath, '--no-warnings', '--input-type=module', '-e', script]
    // Without tap's preload.
    const child = spawnSync('env', ['-i', ...drop, ...node], {
      ...{ encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe', namespace.fd] },
    })
    t.equal(child.stdout, 'MISSING_CAPABILITY\n', `${capability} ${child.stderr}`)
    t.equal(traces(namespace), before)
  }
})

t.test('wherever a supervisor was killed while it enrolled, the next one makes it whole', async (t) => {
  const { namespace } = createLab(t, SPEC).pod('b')
  const before = traces(namespace)
  const left = new Set<boolean>()
  for (let round = 0; round < 12; round++) {
    const stdio = ['ignore', 'pipe', 'inherit', namespace.fd] as const
    const child = spawn(process.execPath, ['--no-warnings', CHILD], { stdio: [...stdio], env: {} })
    if (child.stdout !== null) await once(child.stdout, 'data')
    await wait(round * 3.7) // any moment will do
    child.kill('SIGKILL')
    await once(child, 'exit')
    left.add(traces(namespace) === before)
    const sockets = PodSockets.open({ ...POD, address: null, netns: namespace.path }, config)
    t.equal(sockets.findDrift(), null)
    t.equal(findRuleDrift(namespace, RULES), null)
    sockets.close()
    t.equal(traces(namespace), before)
  }
  t.ok(left.has(false), 'something was left to be made whole')
})
