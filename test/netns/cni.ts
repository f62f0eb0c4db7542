// SPDX-License-Identifier: Apache-2.0
// New pods of a node, with the real plugin, agent, rules and namespaces: no packet leaves before the rules stand. The
// apiserver is a program of the tests; test/nodes has a real one, with containerd.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { readConfig } from '../../ztunnel/config.ts'
import { CniAgent } from '../../ztunnel/supervisor/enroll/cni/cni-agent.ts'
import { openPodNetns } from '../../ztunnel/supervisor/enroll/cni/pod-netns.ts'
import { EnrolledPods } from '../../ztunnel/supervisor/enroll/enrolled-pods.ts'
import type { PodEvents } from '../../ztunnel/supervisor/enroll/pod-events.ts'
import { PodWatch } from '../../ztunnel/supervisor/enroll/pod-watch.ts'
import { readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { callCni } from '../support/cni-call.ts'
import { FakeApiserver } from '../support/fake-apiserver.ts'
import { acceptFrom, connectFrom, createLab } from '../support/lab.ts'
import { poll } from '../support/mesh-lab.ts'
import { enterCgroup } from '../support/pod-cgroup.ts'

t.setTimeout(90_000)
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
const LIST = '{"cniVersion":"1.0.0","name":"lab","plugins":[{"type":"bridge"}]}'
const RESULT = '{"cniVersion":"1.0.0","ips":[]}'
/** Less than the two seconds after which a pod starts in any case; the goal of a node is test/nodes'. */
const ADDED_MS = 1_900
const uidOf = (name: string): string =>
  `${name.charCodeAt(0).toString(16).padEnd(8, '0')}-0000-4000-8000-000000000000`

const podOf = (name: string, labels: object = {}, spec: object = {}) => ({
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name, namespace: 'shop', uid: uidOf(name), labels },
  spec: { nodeName: 'n1', serviceAccountName: name, ...spec },
  status: { phase: 'Pending' },
})

/** An apiserver with the namespace of the pods. */
async function openApiserver(t: Test) {
  const apiserver = new FakeApiserver()
  await apiserver.listen()
  t.teardown(() => apiserver.close())
  const labels = { 'sidestep.dev/mode': 'ambient' }
  apiserver.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels } })
  const state = {
    isAway: false,
    isDaemonSetGone: false,
    /** Pods that can be asked for, but that no watch has told. */
    untold: new Map<string, object>(),
  }
  apiserver.fault = ({ path, response }) => {
    const [, name = ''] = /^\/api\/v1\/namespaces\/shop\/pods\/([a-z]+)$/.exec(path) ?? []
    const pod = state.untold.get(name)
    const metadata = state.isDaemonSetGone ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}
    if (state.isAway) response.destroy()
    else if (pod !== undefined) response.end(JSON.stringify(pod))
    else if (/daemonsets|\/status$/.test(path)) response.end(JSON.stringify({ metadata }))
    else return undefined
    return 'handled'
  }
  return { apiserver, state }
}

/** What a node has: files, processes, and a supervisor's part without a data process. */
async function openNode(t: Test) {
  const network = createLab(t, SPEC)
  const root = t.testdir({
    ...{ bin: {}, conf: { '10-lab.conflist': LIST } },
    proc: { 1: { root: { bin: { sh: '' } } } },
  })
  const [spool, procPath] = [join(root, 'spool'), join(root, 'proc')]
  const { apiserver, state } = await openApiserver(t)
  const flags = ['--config-file', 'x', '--ca-directory', 'x', '--apiserver-host', 'x']
  const { options: config } = readConfig(flags, {
    ...{ SIDESTEP_KUBERNETES_ENROLMENT: 'true', SIDESTEP_HOST_PROC_PATH: procPath },
    ...{ SIDESTEP_CNI_SPOOL_DIRECTORY: spool, SIDESTEP_CNI_BIN_DIRECTORY: join(root, 'bin') },
    SIDESTEP_CNI_CONF_DIRECTORY: join(root, 'conf'),
  })
  const log = pino({ level: 'silent' })
  const client = new KubernetesClient(
    kubeConfigAccess(() => apiserver.kubeConfig()),
    systemClock,
  )

  function startAgent() {
    const pods = new EnrolledPods(config, systemClock, log, {
      onAdded: ({ pod }) => watch.onEnrolled(pod.uid),
      onRemoved: () => {},
      onMended: () => {},
      onLeaving: () => {},
      onReturned: () => {},
      onKept: () => {},
    })
    const said: string[] = []
    const say = (...[pod, reason, code]: Parameters<PodEvents['say']>): void => {
      said.push(`${pod.name} ${reason} ${code}`)
    }
    const watch = new PodWatch({
      saved: null,
      ...{ client, nodeName: 'n1', clock: systemClock, log, roster: pods, host: null, procPath },
      ...{ random: Math.random, events: { say }, onChange: () => {} },
      timing: { idleMs: 60_000, retryMs: 20, maxRetryMs: 100 },
    })
    const cni = new CniAgent({ config, client, watch, clock: systemClock, log })
    watch.start()
    cni.start()
    let isRunning = true
    const stop = async (): Promise<void> => {
      if (!isRunning) return
      isRunning = false
      await cni.stop()
      await watch.stop()
      pods.close()
    }
    agents.push(stop)
    return { pods, watch, said, stop }
  }
  const agents: (() => Promise<void>)[] = []
  const children: ChildProcess[] = []
  // Before the network goes: they are in it.
  t.teardown(async () => {
    for (const stop of agents) await stop()
    for (const child of children) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
  })

  /** A container's first process; the path of its namespace on the node. */
  const keep = (namespace: NetworkNamespace): string => {
    const child = namespace.run(() => spawn('sleep', ['1000'], { stdio: 'ignore' }))
    children.push(child)
    symlinkSync(`/proc/${child.pid}`, join(procPath, String(child.pid)))
    return `/proc/${child.pid}/ns/net`
  }
  let containers = 0
  /** Makes a pod's network ready, as containerd does. */
  const add = async (name: string, netns: string, fields: object = {}, uid = uidOf(name)) =>
    await callCni(
      { command: ['dash'], path: process.env.PATH ?? '' },
      `${JSON.stringify({ cniVersion: '1.0.0', spool, bootSeconds: 0, ...fields }).slice(0, -1)},"prevResult":${RESULT}}`,
      {
        ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: `c${++containers}`, CNI_NETNS: netns },
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=${uid}`,
      },
    )
  const conf = (): string => readFileSync(join(root, 'conf/10-lab.conflist'), 'utf8')
  return { network, apiserver, state, startAgent, keep, add, spool, root, procPath, conf }
}

/** The first connect of a pod arrives at the ztunnel, not at its destination. */
function isFirstConnectTaken(namespace: NetworkNamespace, pods: EnrolledPods): boolean {
  const [sockets] = pods.served
  const client = connectFrom(namespace, '10.1.0.3', 80)
  if (client < 0) return false
  close(acceptFrom(sockets?.listeners.get('outbound') ?? -1))
  close(client)
  return true
}
const hasRules = (namespace: NetworkNamespace): boolean => readRedirectRules(namespace).tables.length > 0

t.test('the first connect of a new pod is taken, whether the watch has told of it or not', async (t) => {
  for (const isTold of [true, false])
    await t.test(`told: ${isTold}`, async (t) => {
      const { network, apiserver, state, startAgent, keep, add } = await openNode(t)
      const { namespace } = network.pod('a')
      const { pods, said } = startAgent()
      if (isTold) apiserver.put(podOf('a'))
      else state.untold.set('a', podOf('a'))
      const netns = keep(namespace)
      const { status, stdout, tookMs } = await add('a', netns)
      t.same({ status, stdout }, { status: 0, stdout: `${RESULT}\n` })
      t.equal(isFirstConnectTaken(namespace, pods), true)
      t.ok(tookMs < ADDED_MS, `${tookMs} ms`)
      t.comment(`a new pod waited ${Math.round(tookMs)} ms`)
      t.same(said, [])
    })
})

t.test('a list that is older than a pod does not take it out', async (t) => {
  const { network, apiserver, state, startAgent, keep, add } = await openNode(t)
  const { namespace } = network.pod('a')
  const { watch } = startAgent()
  state.untold.set('a', podOf('a'))
  await add('a', keep(namespace))
  t.same([...watch.states().values()], ['enrolled'])
  apiserver.compact()
  apiserver.cutWatches()
  const lists = () => apiserver.requests.filter((each) => /pods\?.*limit/.test(each)).length
  const before = lists()
  await poll('it is listed again', () => lists() > before || null)
  apiserver.put(podOf('b', { 'sidestep.dev/mode': 'none' }))
  await poll('the watch goes on', () => watch.states().size === 2 || null)
  t.same([...watch.states().values()].toSorted(), ['enrolled', 'out'])
  t.ok(hasRules(namespace))
})

t.test('pods that are not of the mesh start at once, as they are', async (t) => {
  const { network, apiserver, startAgent, keep, add } = await openNode(t)
  const { namespace } = network.pod('a')
  const { watch } = startAgent()
  const netns = keep(namespace)
  apiserver.put(podOf('a', { 'sidestep.dev/mode': 'none' }))
  apiserver.put(podOf('b', {}, { hostNetwork: true }))
  await poll('both are known', () => watch.states().size === 2 || null)
  for (const name of ['a', 'b', 'nobody']) {
    const { status, tookMs } = await add(name, netns)
    t.equal(status, 0)
    t.ok(tookMs < ADDED_MS, `${name}: ${tookMs} ms`)
  }
  t.equal(hasRules(namespace), false)
})

t.test('on a node that has just started no pod starts before its rules stand', async (t) => {
  const { network, apiserver, state, startAgent, keep, add } = await openNode(t)
  const { namespace } = network.pod('a')
  const netns = keep(namespace)
  apiserver.put(podOf('a'))
  const booting = { bootSeconds: 999_999_999, timeoutMs: 200 }
  const refused = await add('a', netns, booting)
  t.match({ ...refused, ...JSON.parse(refused.stdout) }, { status: 1, code: 11, msg: /no ztunnel runs/ })
  state.isAway = true
  const { pods, said } = startAgent()
  const unknown = await add('a', netns, booting)
  t.match({ ...unknown, ...JSON.parse(unknown.stdout) }, { status: 1, code: 11 })
  t.equal(hasRules(namespace), false)
  state.isAway = false
  await poll(
    'the runtime tries until it starts',
    async () => (await add('a', netns, booting)).status === 0 || null,
  )
  t.ok(hasRules(namespace))
  t.ok(isFirstConnectTaken(namespace, pods))
  t.same(said, [], 'nothing of it was late')
})

t.test('an agent that comes later enrols the pod, and says that it was late', async (t) => {
  const { network, apiserver, startAgent, keep, add, spool } = await openNode(t)
  const { namespace } = network.pod('a')
  mkdirSync(spool)
  apiserver.put(podOf('a'))
  const { status } = await add('a', keep(namespace), { timeoutMs: 60_000 })
  t.equal(status, 0)
  t.equal(hasRules(namespace), false)
  const { said } = startAgent()
  await poll('the rules stand', () => hasRules(namespace) || null)
  await poll('it is told', () => said.length > 0 || null)
  t.same(said, ['a EnrolmentLate ENROLMENT_LATE'])
})

t.test(
  'an apiserver that is away makes a pod late, or with retry lets none start in plain text',
  async (t) => {
    const { network, apiserver, startAgent, keep, add, state } = await openNode(t)
    const { namespace } = network.pod('a')
    const netns = keep(namespace)
    apiserver.put(podOf('a'))
    state.isAway = true
    const { said } = startAgent()
    const refused = await add('a', netns, { onTimeout: 'retry', timeoutMs: 200 })
    t.match({ ...refused, ...JSON.parse(refused.stdout) }, { status: 1, code: 11 })
    t.match(await add('a', netns, { timeoutMs: 200 }), { status: 0 })
    t.equal(hasRules(namespace), false)
    state.isAway = false
    await poll('the rules stand', () => hasRules(namespace) || null)
    await poll('it is told', () => said.length > 0 || null)
    t.match(await add('a', netns, { onTimeout: 'retry' }), { status: 0 })
  },
)

t.test('a second attempt with another namespace is the one that counts', async (t) => {
  const { network, apiserver, startAgent, keep, add } = await openNode(t)
  const [first, second] = [network.pod('a').namespace, network.pod('b').namespace]
  apiserver.put(podOf('a'))
  const { pods } = startAgent()
  await add('a', keep(first))
  t.ok(hasRules(first))
  t.match(await add('a', keep(second)), { status: 0 })
  t.same([hasRules(first), hasRules(second)], [false, true])
  t.equal(pods.count, 1)
})

t.test('another pod of the same name, and a namespace of the node, are not enrolled', async (t) => {
  const { network, apiserver, state, startAgent, keep, add } = await openNode(t)
  const { namespace } = network.pod('a')
  apiserver.put(podOf('a'))
  state.untold.set('a', podOf('a'))
  const { pods } = startAgent()
  const netns = keep(namespace)
  t.match(await add('a', netns, {}, uidOf('z')), { status: 0 })
  t.equal(hasRules(namespace), false)
  const refused = await add('a', keep(NetworkNamespace.open('/proc/thread-self/ns/net')), {
    onTimeout: 'retry',
  })
  t.match(JSON.parse(refused.stdout), { code: 11, msg: /NAMESPACE_SHARED/ })
  t.equal(pods.count, 0)
})

t.test('a pod from a file is enrolled, and again when somebody has deleted what shows it', async (t) => {
  const { network, apiserver, startAgent, keep, add } = await openNode(t)
  const { namespace } = network.pod('a')
  const uid = `${process.pid}`.padStart(32, '0')
  const mirror = (name: string, seen: string) => {
    const pod = podOf(name)
    const annotations = { 'kubernetes.io/config.mirror': uid }
    return { ...pod, metadata: { ...pod.metadata, uid: uidOf(seen), annotations } }
  }
  apiserver.put(mirror('a', 'x'))
  const { pods, watch } = startAgent()
  const netns = keep(namespace)
  const run = (path: string, seen: string) =>
    enterCgroup(Number(path.split('/')[2]), `kubepods/pod${seen}/c1`)
  const end = run(netns, uid)
  t.match(await add('a', netns, {}, uid), { status: 0 })
  t.ok(isFirstConnectTaken(namespace, pods))
  apiserver.delete(mirror('a', 'x'))
  await poll('it is out', () => pods.count === 0 || null)
  apiserver.put(mirror('a', 'y'))
  await poll('it is in again', () => watch.states().get(uidOf('y')) === 'enrolled' || null)
  t.ok(isFirstConnectTaken(namespace, pods))
  apiserver.delete(mirror('a', 'y'))
  await poll('it is out', () => pods.count === 0 || null)
  end()
  for (const name of ['a', 'b']) apiserver.put(mirror(name, name))
  await poll('both are known', () => watch.states().size === 2 || null)
  t.teardown(run(netns, uid))
  apiserver.put(podOf('c'))
  t.teardown(run(keep(network.pod('b').namespace), uidOf('c')))
  await poll('all have been sought', () => watch.states().get(uidOf('c')) === 'enrolled' || null)
  t.same(
    [...watch.states().values()],
    ['wanted', 'wanted', 'enrolled'],
    'two say that they are it: neither is',
  )
})

t.test('a pod that is deleted while it is made leaves nothing', async (t) => {
  const { network, apiserver, startAgent, keep, add, spool } = await openNode(t)
  const { namespace } = network.pod('a')
  apiserver.put(podOf('a'))
  const { pods } = startAgent()
  const added = add('a', keep(namespace))
  apiserver.delete(podOf('a'))
  t.match(await added, { status: 0 })
  await poll('it is out', () => (pods.count === 0 && !hasRules(namespace)) || null)
  await poll('the spool is empty', () => readdirSync(spool).join() === 'alive' || null)
})

t.test('a flooded spool does not keep a pod from its turn', async (t) => {
  const { network, apiserver, startAgent, keep, add, spool } = await openNode(t)
  const { namespace } = network.pod('a')
  mkdirSync(spool)
  for (let file = 0; file < 2_000; file++) writeFileSync(join(spool, `x${file}.request`), 'garbage')
  apiserver.put(podOf('a'))
  startAgent()
  t.match(await add('a', keep(namespace), { timeoutMs: 20_000, onTimeout: 'retry' }), {
    status: 0,
  })
  t.ok(hasRules(namespace))
})

t.test('a ztunnel that is replaced leaves the plugin; one that is removed takes it away', async (t) => {
  const { startAgent, state, conf, root } = await openNode(t)
  const program = join(root, 'bin/sidestep-cni')
  const before = conf()
  const first = startAgent()
  t.match(conf(), /sidestep-cni/)
  await first.stop()
  t.match(conf(), /sidestep-cni/)
  t.ok(existsSync(program))
  const second = startAgent()
  state.isDaemonSetGone = true
  await second.stop()
  t.same(JSON.parse(conf()), JSON.parse(before))
  t.equal(existsSync(program), false)
})

t.test('what a runtime keeps as a file is opened, a link is not', async (t) => {
  const procPath = t.testdir({ 1: { root: { run: { netns: { a: '', link: t.fixture('symlink', 'a') } } } } })
  closeSync(openPodNetns('/var/run/netns/a', procPath))
  for (const name of ['link', 'none'])
    t.throws(() => openPodNetns(`/run/netns/${name}`, procPath), { code: 'NAMESPACE_GONE' }, name)
  t.throws(() => openPodNetns(`/proc/${process.pid}/ns/net`, '/proc'), { code: 'NAMESPACE_SHARED' })
})
