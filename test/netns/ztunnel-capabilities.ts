// SPDX-License-Identifier: Apache-2.0
// Real ztunnels with the capabilities of daemonset.yaml, and with one of them taken away: the pod, whose process is of another
// user, is enrolled by the first; of the others its Event, the log and a metric say what is missing. What keeps a pod from
// being enrolled for another cause is told in the same ways.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { seedCompileCache } from '../support/compile-caches.ts'
import { FakeApiserver } from '../support/fake-apiserver.ts'
import { createLab } from '../support/lab.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { poll } from '../support/mesh-lab.ts'
import { enterCgroup } from '../support/pod-cgroup.ts'
import { serveTls } from '../support/tls-apiserver.ts'

const SUPERVISOR = fileURLToPath(new URL('../../ztunnel/supervisor/main.ts', import.meta.url))
const DAEMONSET = new URL('../../daemonset.yaml', import.meta.url)
const UID = `eeeeeeee-0000-4000-8000-${String(process.pid).padStart(12, '0')}`
const IP = '10.1.0.1'
const MESH =
  'workloads:\n- {uid: cart, name: cart, namespace: shop, serviceAccount: cart, trustDomain: cluster.local, ' +
  `workloadIps: ["${IP}"], protocol: HBONE, node: n1, services: {}}\nservices: []\npolicies: []\n`

t.setTimeout(180_000)

interface Container {
  readonly securityContext: { readonly capabilities: { readonly add: readonly string[] } }
}

/** What the ztunnel of the DaemonSet may do. */
function shippedCapabilities(): readonly string[] {
  const objects = parseAllDocuments(readFileSync(DAEMONSET, 'utf8')).map((each) => each.toJS() as unknown)
  // as: our own file, whose form another test checks
  const daemonSet = objects.find((each) => (each as { kind: string }).kind === 'DaemonSet') as {
    readonly spec: { readonly template: { readonly spec: { readonly containers: readonly Container[] } } }
  }
  return daemonSet.spec.template.spec.containers[0]?.securityContext.capabilities.add ?? []
}

interface Event {
  readonly reason: string
  readonly message: string
  readonly involvedObject: { readonly uid: string }
}

/** A node with one pod, whose process runs as somebody else; ztunnels are started on it one after another. */
async function openNode(t: Test) {
  const directory = labDirectory(t)
  const sockets = mkdtempSync(join(tmpdir(), 'sidestep-capabilities-'))
  t.teardown(() => rmSync(sockets, { recursive: true, force: true }))
  const network = createLab(t, { nodes: [{ name: 'n1', pods: [{ name: 'cart', ip: IP }] }] })
  const node = network.node('n1').namespace
  const { namespace } = network.pod('cart')
  const apiserver = new FakeApiserver()
  await apiserver.listen()
  t.teardown(() => apiserver.close())
  const events: Event[] = []
  apiserver.fault = ({ path, response }) => {
    if (!/\/status$|\/events$/.test(path)) return undefined
    let body = ''
    response.req.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    response.req.on('end', () => {
      if (path.endsWith('/events')) events.push(JSON.parse(body) as Event) // as: what the ztunnel writes
      response.end('{}')
    })
    return 'handled'
  }
  apiserver.put({
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name: 'shop', labels: { 'sidestep.dev/mode': 'ambient' } },
  })
  const files = join(directory, 'account')
  mkdirSync(files)
  const account = await serveTls(apiserver, node, files)
  t.teardown(account.close)
  const sleeper = namespace.run(() =>
    spawn('setpriv', ['--reuid', '1000', 'sleep', '1000'], { stdio: 'ignore' }),
  )
  const leave = enterCgroup(sleeper.pid ?? 0, `kubepods/burstable/pod${UID}/c1`)
  t.teardown(async () => {
    leave()
    sleeper.kill('SIGKILL')
    await ended(sleeper)
  })
  apiserver.put({
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: { name: 'cart', namespace: 'shop', uid: UID, labels: {} },
    spec: { nodeName: 'n1', serviceAccountName: 'cart' },
    status: { phase: 'Running', podIP: IP, podIPs: [{ ip: IP }] },
  })
  writeFileSync(join(directory, 'mesh.yaml'), MESH)
  mkdirSync(join(directory, 'ca'), { mode: 0o700 })
  const adminSocket = join(sockets, 'n1.sock')
  await seedCompileCache(adminSocket, 'ztunnel')
  let count = 0
  const tables = (): string =>
    namespace.run(() => spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' }).stdout)

  /** Runs `look` beside a ztunnel that may do no more than this. */
  const withZtunnel = async (
    capabilities: readonly string[],
    look: (seen: { log: () => string; metrics: () => Promise<string> }) => Promise<void>,
    options: Readonly<Record<string, string>> = {},
  ): Promise<void> => {
    events.length = 0
    const logFile = join(directory, `${++count}.log`)
    const env = {
      SIDESTEP_NODE_NAME: 'n1',
      SIDESTEP_CONFIG_FILE: join(directory, 'mesh.yaml'),
      SIDESTEP_CA_DIRECTORY: join(directory, 'ca'),
      SIDESTEP_STATE_DIRECTORY: join(directory, `state-${count}`),
      SIDESTEP_ADMIN_SOCKET: adminSocket,
      SIDESTEP_DRAIN_SECONDS: '0',
      ...account.options,
      ...options,
    }
    const bounding = ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join()
    const output = openSync(logFile, 'a')
    const command = ['--bounding-set', bounding, process.execPath, '--no-warnings', SUPERVISOR]
    const ztunnel = node.run(() => spawn('setpriv', command, { stdio: ['ignore', output, output], env }))
    const log = (): string => readFileSync(logFile, 'utf8')
    try {
      await look({ log, metrics: () => metricsOf(adminSocket) })
    } catch (error) {
      t.comment(log())
      throw error
    } finally {
      ztunnel.kill('SIGTERM')
      await ended(ztunnel)
    }
  }
  return { namespace, events, tables, withZtunnel }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function metricsOf(socketPath: string): Promise<string> {
  const asked = request({
    socketPath,
    path: '/metrics',
    agent: false,
    signal: AbortSignal.timeout(2000),
  }).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event carries
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return text
}

t.test('the capabilities of the DaemonSet suffice, and one that is missing is named', async (t) => {
  const { events, tables, withZtunnel } = await openNode(t)
  const all = shippedCapabilities()
  t.same(all.toSorted(), ['NET_ADMIN', 'NET_RAW', 'SYS_ADMIN', 'SYS_PTRACE'])
  await withZtunnel(all, async ({ metrics }) => {
    await poll('enrolled', () => /sidestep-nat/.test(tables()) || null)
    await poll(
      'served',
      async () => /^workload_manager_active_proxy_count 1$/m.test(await metrics().catch(() => '')) || null,
    )
    t.notMatch(await metrics(), /^sidestep_pods_not_enrolled\{/m)
    t.same(events, [])
  })
  // Transparent sockets and marks ask for one of NET_ADMIN and NET_RAW.
  for (const missing of all.filter((name) => name !== 'NET_RAW'))
    await t.test(`without ${missing}`, async (t) => {
      await withZtunnel(
        all.filter((name) => name !== missing),
        async ({ log, metrics }) => {
          const event = await poll('an Event', () => events[0] ?? null)
          t.match(event, { reason: 'EnrolmentFailed', message: /^MISSING_CAPABILITY: / })
          t.equal(event.involvedObject.uid, UID)
          await poll(
            'the metric',
            async () =>
              /^sidestep_pods_not_enrolled\{reason="MISSING_CAPABILITY"\} 1$/m.test(
                await metrics().catch(() => ''),
              ) || null,
          )
          t.match(log(), /"reason":"MISSING_CAPABILITY"/)
          t.comment(event.message)
          t.equal(tables(), '', 'no half of the rules is left')
        },
      )
    })
})

t.test('a node whose processes are not seen', async (t) => {
  const { events, withZtunnel } = await openNode(t)
  const procPath = mkdtempSync(join(tmpdir(), 'sidestep-no-proc-'))
  t.teardown(() => rmSync(procPath, { recursive: true }))
  const look = async ({ log, metrics }: { log: () => string; metrics: () => Promise<string> }) => {
    const event = await poll('an Event', () => events[0] ?? null)
    t.match(event, { reason: 'EnrolmentFailed', message: /^POD_UNSEEN: .*hostPID/ })
    await poll(
      'the metric',
      async () =>
        /^sidestep_pods_not_enrolled\{reason="POD_UNSEEN"\} 1$/m.test(await metrics().catch(() => '')) ||
        null,
    )
    t.match(log(), /"reason":"POD_UNSEEN"/)
  }
  await withZtunnel(shippedCapabilities(), look, { SIDESTEP_HOST_PROC_PATH: procPath })
})

t.test(
  'rules of another mesh in the pod: told at the pod, counted, and forgotten once they are gone',
  async (t) => {
    const { namespace, events, tables, withZtunnel } = await openNode(t)
    const inPod = (command: string): void =>
      namespace.run(() => void spawnSync('sh', ['-c', command], { stdio: 'inherit' }))
    inPod('nft add table inet istio-ambient-nat')
    inPod("nft add chain inet istio-ambient-nat output '{ type nat hook output priority -100; }'")
    inPod('nft add rule inet istio-ambient-nat output tcp dport 1-65535 redirect to :15001')
    await withZtunnel(shippedCapabilities(), async ({ log, metrics }) => {
      const event = await poll('an Event', () => events[0] ?? null)
      t.match(event, { reason: 'EnrolmentFailed', message: /^FOREIGN_REDIRECTION: / })
      t.equal(event.involvedObject.uid, UID)
      await poll(
        'the metric',
        async () =>
          /^sidestep_pods_not_enrolled\{reason="FOREIGN_REDIRECTION"\} 1$/m.test(
            await metrics().catch(() => ''),
          ) || null,
      )
      t.match(log(), /"reason":"FOREIGN_REDIRECTION"/)
      inPod('nft flush ruleset')
      await poll('enrolled', () => /sidestep-nat/.test(tables()) || null)
      await poll(
        'no longer counted',
        async () => !/^sidestep_pods_not_enrolled\{/m.test(await metrics()) || null,
      )
    })
  },
)
