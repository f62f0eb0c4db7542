// SPDX-License-Identifier: Apache-2.0
// What docs/install.md says, done on two real nodes: the image is built and loaded, daemonset.yaml applied, all of it is
// ready within a minute; pods that run are enrolled, and no request of theirs fails; everything goes and leaves nothing.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { CLUSTER_TEST_MS, Cluster, KUBECTL } from '../support/cluster.ts'
import { pageText, ROOT } from '../support/documents.ts'
import { poll } from '../support/mesh-lab.ts'

const SYSTEM = 'istio-system'
const READY_MS = 60_000
const ENROLLED_MS = 10_000 // with what kubectl takes; the agent itself is measured in test/cluster/enrolment.ts
const STATUS_PORT = 15_021
/** Medians: of the wait of a new pod for its enrolment, and from the label until a running pod is enrolled. */
const [ADDED_GOAL_MS, ENROL_GOAL_MS] = [200, 2_000]
/** What is measured is told; a machine that is busy with other things is no defect, this many times a goal is one. */
const OF_A_GOAL = 5
/** A ztunnel that ends loses what waits in the queues of its sockets: of one caller one connection on either node. */
const MOST_LOST = 2
const WAIT_MS = 60_000

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open({ nodes: ['node1', 'node2'] })
t.teardown(() => cluster.close())
const programs = mkdtempSync(join(tmpdir(), 'programs-'))
t.teardown(() => rmSync(programs, { recursive: true }))
symlinkSync(KUBECTL, join(programs, 'kubectl'))
const env = {
  ...process.env,
  PATH: `${programs}:${dirname(process.execPath)}:${process.env.PATH}`,
  KUBECONFIG: cluster.kubeconfig,
}
const [buildImage = '', apply = '', enrol = '', remove = '', ...others] = [
  ...pageText('docs/install.md').matchAll(/^```bash\n(.*?)^```$/gms),
].map(([, block]) => block)

/** Runs the commands of a block as they stand on the page. */
async function runBlock(script: string): Promise<string> {
  const { stdout } = await promisify(execFile)('bash', ['-e', '-c', script], { cwd: ROOT, env })
  return stdout
}

/** front on one node asks cart on another, all the time, and says how each request ended. */
const SHOP = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: cart, namespace: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: front, namespace: shop}}
---
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}, ports: [{port: 80, targetPort: 8080}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec:
  serviceAccountName: cart
  containers:
  - name: main
    image: localhost/node:1
    imagePullPolicy: Never
    securityContext: {runAsUser: 1000} # another user than the ztunnel's
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: front, namespace: shop, labels: {app: front}}
spec:
  serviceAccountName: front
  terminationGracePeriodSeconds: 1
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: cart}}}
  containers:
  - name: main
    image: localhost/tools:1
    imagePullPolicy: Never
    securityContext: {capabilities: {add: [NET_ADMIN]}} # to see its own rules
    command: [sh, -c, 'while :; do curl -s -m 3 -o /dev/null http://cart/ && echo answered || echo failed; sleep 0.05; done']
`
const DENY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-front, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/front]}}]}]
`

/** A pod whose first and only deed is a request. */
const newPod = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: shop}
spec:
  serviceAccountName: front
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: localhost/tools:1
    imagePullPolicy: Never
    command: [sh, -c, 'curl -s -m 8 -o /dev/null http://cart/ && echo answered || echo failed; sleep 600']
`

/** What is in the directories of every node. */
const LOOK = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: look, namespace: default}
spec:
  selector: {matchLabels: {app: look}}
  template:
    metadata: {labels: {app: look}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: localhost/tools:1
        imagePullPolicy: Never
        command: [sh, -c, 'ls /bin-of-node | grep sidestep; cat /conf-of-node/*.conflist; ls -A /conf-of-node; for d in state spool run-of-node; do echo left in $d: $(ls -A /$d); done; echo looked; sleep 600']
        volumeMounts:
        - {name: bin, mountPath: /bin-of-node}
        - {name: conf, mountPath: /conf-of-node}
        - {name: state, mountPath: /state}
        - {name: spool, mountPath: /spool}
        - {name: run, mountPath: /run-of-node}
      volumes:
      - {name: bin, hostPath: {path: /opt/cni/bin}}
      - {name: conf, hostPath: {path: /etc/cni/net.d}}
      - {name: state, hostPath: {path: /var/lib/sidestep, type: DirectoryOrCreate}}
      - {name: spool, hostPath: {path: /run/sidestep-cni, type: DirectoryOrCreate}}
      - {name: run, hostPath: {path: /run/sidestep, type: DirectoryOrCreate}}
`
/** Pods that do nothing, to be enrolled while they run. */
const IDLERS = 5
const idlers = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle, namespace: shop}
spec:
  replicas: ${IDLERS}
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: 'localhost/tools:1', imagePullPolicy: Never, command: [sleep, '3600']}]
`
const NEW_PODS = ['new-a', 'new-b', 'new-c', 'new-d', 'new-e']
const medianOf = (values: readonly number[]): number =>
  values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN

/** A policy that stays, for its status. */
const PERMISSIVE =
  '{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: permissive, namespace: shop}, spec: {mtls: {mode: PERMISSIVE}}}'

/** How the requests of front have ended so far. */
async function requests(): Promise<{ readonly answered: number; readonly failed: number }> {
  const lines = (await cluster.kubectl('-n', 'shop', 'logs', 'front')).split('\n')
  const count = (word: string): number => lines.filter((line) => line === word).length
  return { answered: count('answered'), failed: count('failed') }
}

/** Waits for so many more requests that were answered; returns how many failed since `before`. */
async function failuresSince(before: { readonly failed: number }, more = 20): Promise<number> {
  const { answered } = await requests()
  const last = await poll(
    `${more} answers`,
    async () => {
      const now = await requests()
      return now.answered >= answered + more ? now : null
    },
    WAIT_MS,
  )
  return last.failed - before.failed
}

/** What all ztunnels have logged. */
async function logLines(): Promise<readonly Readonly<Partial<Record<string, string>>>[]> {
  const logs = await Promise.all(
    (await podsOf('ztunnel')).map(({ name }) => cluster.kubectl('-n', SYSTEM, 'logs', name)),
  )
  return logs
    .flatMap((log) => log.split('\n'))
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
}

/** The connection records of all ztunnels, the newest of each. */
async function records(): Promise<readonly Readonly<Record<string, string>>[]> {
  const logs = await Promise.all(
    (await podsOf('ztunnel')).map(({ name }) => cluster.kubectl('-n', SYSTEM, 'logs', name, '--tail=50')),
  )
  return logs
    .flatMap((log) => log.split('\n'))
    .filter((line) => line.includes('"connection complete"'))
    .map((line) => JSON.parse(line))
}

/** The nftables rules in the network of a pod of the shop. */
async function rulesOf(pod: string): Promise<string> {
  return await cluster.kubectl('-n', 'shop', 'exec', pod, '--', 'nft', 'list', 'ruleset')
}

/** What nodes say of the pods of the shop. */
async function redirections(): Promise<string> {
  return await cluster.kubectl(
    ...['-n', 'shop', 'get', 'pods', '-o'],
    'jsonpath={range .items[*]}{.metadata.annotations.ambient\\.istio\\.io/redirection}{end}',
  )
}

/** What its node says of one pod of the shop. */
async function redirectionOf(name: string): Promise<string> {
  return await cluster.kubectl(
    ...['-n', 'shop', 'get', 'pod', name, '-o'],
    'jsonpath={.metadata.annotations.ambient\\.istio\\.io/redirection}',
  )
}

interface Pod {
  readonly name: string
  readonly node: string
}

async function podsOf(app: string): Promise<readonly Pod[]> {
  const columns = 'jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\\n"}{end}'
  const text = await cluster.kubectl('-n', SYSTEM, 'get', 'pods', '-l', `app=${app}`, '-o', columns)
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name = '', node = ''] = line.split(' ')
      return { name, node }
    })
}

/** A metric of a pod, through the apiserver. */
async function metric(pod: Pod, name: string): Promise<number> {
  const path = `/api/v1/namespaces/${SYSTEM}/pods/${pod.name}:${STATUS_PORT}/proxy/metrics`
  const page = await cluster.kubectl('get', '--raw', path)
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(page)?.[1])
}

async function total(name: string): Promise<number> {
  const values = await Promise.all((await podsOf('sidestep-controller')).map((pod) => metric(pod, name)))
  return values.reduce((sum, value) => sum + value, 0)
}

/** What a line of JavaScript in the pod says. */
async function inPod({ name }: Pod, script: string): Promise<string> {
  const said = await cluster.kubectl('-n', SYSTEM, 'exec', name, '--', '/usr/local/bin/node', '-e', script)
  return said.trim()
}

t.test('what is applied is ready within a minute', async (t) => {
  t.same(others, [], 'the page has four blocks')
  await runBlock(buildImage)
  await cluster.loadImage(join(ROOT, 'tmp/sidestep.tar'))
  const startedMs = performance.now()
  t.match(await runBlock(apply), 'daemon set "ztunnel" successfully rolled out')
  const tookMs = Math.round(performance.now() - startedMs)
  t.ok(tookMs < READY_MS, `${tookMs} ms`)
  t.comment(`ready after ${tookMs} ms`)
  t.equal(
    new Set((await podsOf('sidestep-controller')).map(({ node }) => node)).size,
    2,
    'spread over both nodes',
  )
})

t.test('one controller leads; every ztunnel follows with the token of its pod', async (t) => {
  await poll(
    'one leads',
    async () => ((await total('sidestep_controller_leader')) === 1 ? true : null),
    WAIT_MS,
  )
  await poll(
    'both follow',
    async () => ((await total('sidestep_controller_clients')) === 2 ? true : null),
    WAIT_MS,
  )
  const logs = await Promise.all(
    (await podsOf('sidestep-controller')).map(({ name }) => cluster.kubectl('-n', SYSTEM, 'logs', name)),
  )
  const streams = logs
    .join('')
    .matchAll(/"node":"([^"]+)","caller":"istio-system\/ztunnel".*"discovery stream"/g)
  const nodes = (await podsOf('ztunnel')).map(({ node }) => node)
  t.equal(nodes.length, 2)
  t.same(new Set([...streams].map(([, node]) => node)), new Set(nodes))
})

t.test('no part can write its image, the controllers are nobody', async (t) => {
  const write = 'try{fs.writeFileSync("/app/x","");console.log("written")}catch(e){console.log(e.code)}'
  const rights =
    'console.log(process.getuid(),/CapEff:\\s*(\\w+)/.exec(fs.readFileSync("/proc/self/status"))[1])'
  const [controller] = await podsOf('sidestep-controller')
  const [ztunnel] = await podsOf('ztunnel')
  if (controller === undefined || ztunnel === undefined) throw new Error('no pods')
  t.same([await inPod(controller, write), await inPod(ztunnel, write)], ['EROFS', 'EROFS'])
  t.equal(await inPod(controller, rights), '65532 0000000000000000')
  // NET_ADMIN 12, NET_RAW 13, SYS_PTRACE 19, SYS_ADMIN 21
  const four = ((1 << 12) | (1 << 13) | (1 << 19) | (1 << 21)).toString(16).padStart(16, '0')
  t.equal(await inPod(ztunnel, rights), `0 ${four}`)
})

t.test('the leader is deleted: the other leads, and ztunnels are replaced meanwhile', async (t) => {
  const controllers = await podsOf('sidestep-controller')
  const leads = await Promise.all(controllers.map((pod) => metric(pod, 'sidestep_controller_leader')))
  const leader = controllers[leads.indexOf(1)]
  const before = await podsOf('ztunnel')
  await cluster.kubectl('-n', SYSTEM, 'delete', 'pod', leader?.name ?? '', '--wait=false')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'restart', 'daemonset/ztunnel')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'daemonset/ztunnel', '--timeout=90s')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=60s')
  const names = new Set(before.map(({ name }) => name))
  await poll(
    'the old ones are gone',
    async () => ((await podsOf('ztunnel')).every(({ name }) => !names.has(name)) ? true : null),
    WAIT_MS,
  )
  await poll(
    'one leads, both follow',
    async () => {
      const told = await Promise.all(
        ['leader', 'clients'].map((each) => total(`sidestep_controller_${each}`)),
      )
      return told.join() === '1,2' ? true : null
    },
    WAIT_MS,
  )
  t.ok((await podsOf('sidestep-controller')).every(({ name }) => name !== leader?.name))
})

t.test('a label enrols pods that run: mTLS by their accounts, and no request fails', async (t) => {
  await cluster.apply(SHOP)
  await cluster.kubectl('-n', 'shop', 'wait', 'pod', '--all', '--for=condition=Ready', '--timeout=60s')
  await failuresSince(await requests()) // until cart was ready some have
  await cluster.apply(idlers)
  await cluster.kubectl('-n', 'shop', 'rollout', 'status', 'deployment/idle', '--timeout=60s')
  const before = await requests()
  const startedMs = performance.now()
  const labelledMs = Date.now()
  await runBlock(enrol)
  const tookMs = Math.round(performance.now() - startedMs)
  t.ok(tookMs < ENROLLED_MS, `${tookMs} ms`)
  // kubectl's own start is in it.
  const enrolledMs = (await logLines())
    .filter(({ msg, pod }) => msg === 'pod enrolled' && pod?.startsWith('idle-'))
    .map(({ time }) => Date.parse(time ?? '') - labelledMs)
  t.equal(enrolledMs.length, IDLERS)
  t.ok(medianOf(enrolledMs) <= OF_A_GOAL * ENROL_GOAL_MS, `${medianOf(enrolledMs)} ms`)
  t.comment(`running pods were enrolled after ${enrolledMs.join(', ')} ms, goal ${ENROL_GOAL_MS}`)
  await cluster.kubectl('-n', 'shop', 'delete', 'deployment', 'idle', '--cascade=foreground')
  t.equal(await failuresSince(before), 0)
  const identities = {
    ...{ reason: 'OK', transport: 'HBONE' },
    'src.identity': 'spiffe://cluster.local/ns/shop/sa/front',
    'dst.identity': 'spiffe://cluster.local/ns/shop/sa/cart',
  }
  t.match(await rulesOf('front'), /table inet sidestep/)
  const found = await records()
  for (const direction of ['outbound', 'inbound'])
    t.match(
      found.findLast((each) => each.direction === direction),
      identities,
      direction,
    )
  t.equal(
    await cluster.kubectl(
      '-n',
      'shop',
      'get',
      'pods',
      '-o',
      'jsonpath={.items[*].status.containerStatuses[*].restartCount}',
    ),
    '0 0',
  )
})

/** Runs one; says what it said first, and its address. */
async function runNew(name: string): Promise<{ readonly said: string; readonly ip: string }> {
  await cluster.apply(newPod(name))
  await cluster.kubectl('-n', 'shop', 'wait', 'pod', name, '--for=condition=Ready', '--timeout=60s')
  const said = await poll(
    `${name} has asked`,
    async () => (await cluster.kubectl('-n', 'shop', 'logs', name)).trim() || null,
    WAIT_MS,
  )
  const ip = await cluster.kubectl('-n', 'shop', 'get', 'pod', name, '-o', 'jsonpath={.status.podIP}')
  return { said, ip }
}

/** The records of what a pod of this address has opened. */
async function recordsFrom(ip: string) {
  return (await records()).filter(
    (each) => each.direction === 'inbound' && each['src.addr']?.startsWith(`${ip}:`),
  )
}

t.test(
  'the first connect of a new pod goes out with its identity; its start waits for that a moment',
  async (t) => {
    for (const ztunnel of await podsOf('ztunnel'))
      t.match(
        await inPod(
          ztunnel,
          'for(const f of fs.readdirSync("/etc/cni/net.d"))console.log(fs.readFileSync("/etc/cni/net.d/"+f,"utf8"))',
        ),
        /"portmap"[\s\S]*"sidestep-cni"/,
      )
    for (const name of NEW_PODS) {
      const { said, ip } = await runNew(name)
      t.equal(said, 'answered')
      t.match(await recordsFrom(ip), [
        {
          ...{ reason: 'OK', transport: 'HBONE' },
          'src.identity': 'spiffe://cluster.local/ns/shop/sa/front',
          'dst.identity': 'spiffe://cluster.local/ns/shop/sa/cart',
        },
      ])
    }
    const logs = await Promise.all(
      (await podsOf('ztunnel')).map(({ name }) => cluster.kubectl('-n', SYSTEM, 'logs', name)),
    )
    const waits = logs
      .join('\n')
      .split('\n')
      .filter((line) => line.includes('"a new pod"') && line.includes('"name":"new-'))
      .map((line) => JSON.parse(line))
    t.same(
      waits.map(({ kind, isEnrolled, isLate }) => ({ kind, isEnrolled, isLate })),
      waits.map(() => ({ kind: 'done', isEnrolled: true, isLate: false })),
    )
    t.equal(waits.length, NEW_PODS.length)
    const waited = waits.map(({ waitedMs }) => Number(waitedMs))
    const middleMs = medianOf(waited)
    t.ok(middleMs <= OF_A_GOAL * ADDED_GOAL_MS, `${middleMs} ms`)
    t.comment(`new pods waited ${waited.join(', ')} ms, goal ${ADDED_GOAL_MS}`)
  },
)

t.test(
  'without a ztunnel pods start all the same; it enrols them when it is back, and says that they were late',
  async (t) => {
    const patch = (selector: object | null): Promise<string> =>
      cluster.kubectl(
        ...['-n', SYSTEM, 'patch', 'daemonset', 'ztunnel', '--type=merge', '-p'],
        JSON.stringify({ spec: { template: { spec: { nodeSelector: selector } } } }),
      )
    await patch({ nowhere: 'true' })
    await poll('no ztunnel runs', async () => ((await podsOf('ztunnel')).length === 0 ? true : null), WAIT_MS)
    const { said } = await runNew('new-late')
    t.equal(said, 'answered', 'in plain text: its destination is not strict')
    await patch(null)
    await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'daemonset/ztunnel', '--timeout=60s')
    const events = await poll(
      'an Event',
      async () => {
        const text = await cluster.kubectl(
          ...['-n', 'shop', 'get', 'events', '--field-selector', 'involvedObject.name=new-late', '-o'],
          'jsonpath={range .items[*]}{.reason} {.message}{"\\n"}{end}',
        )
        return text.includes('EnrolmentLate') ? text : null
      },
      WAIT_MS,
    )
    t.match(events, /EnrolmentLate ENROLMENT_LATE: the pod had started/)
    await poll(
      'it is enrolled',
      async () => /^enabled$/.test(await redirectionOf('new-late')) || null,
      WAIT_MS,
    )
    await cluster.kubectl(
      ...['-n', 'shop', 'delete', 'pod', ...NEW_PODS, 'new-late', '--grace-period=0', '--force'],
    )
  },
)

t.test('a policy denies by identity, and is taken back', async (t) => {
  await cluster.apply(DENY)
  const denied = await poll(
    'a refusal',
    async () => (await records()).find((each) => each.reason === 'POLICY_DENY') ?? null,
    WAIT_MS,
  )
  t.match(denied, { 'src.identity': 'spiffe://cluster.local/ns/shop/sa/front' })
  await cluster.kubectl('-n', 'shop', 'delete', 'authorizationpolicy', 'no-front')
  await failuresSince(await requests(), 1)
  const before = await requests()
  t.equal(await failuresSince(before), 0, 'as before')
})

t.test('controllers are away and come back: enrolled pods do not notice', async (t) => {
  const before = await requests()
  await cluster.kubectl('-n', SYSTEM, 'scale', 'deployment/sidestep-controller', '--replicas=0')
  await poll(
    'none runs',
    async () => ((await podsOf('sidestep-controller')).length === 0 ? true : null),
    WAIT_MS,
  )
  t.equal(await failuresSince(before), 0)
  await cluster.kubectl('-n', SYSTEM, 'scale', 'deployment/sidestep-controller', '--replicas=2')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=60s')
  t.equal(await failuresSince(before), 0)
})

t.test('what is removed leaves nothing of ours in the cluster, and pods go on', async (t) => {
  const statuses = (): Promise<string> =>
    cluster.kubectl('get', 'peerauthentications', '-A', '-o', 'jsonpath={.items[*].status}')
  await cluster.apply(PERMISSIVE)
  await poll('a status', async () => (await statuses()).includes('sidestep.dev/Enforced') || null, WAIT_MS)
  const before = await requests()
  await runBlock(remove)
  t.notMatch(await statuses(), /sidestep/)
  const kinds = [
    ...[
      'clusterroles',
      'clusterrolebindings',
      'priorityclasses',
      'namespaces',
      'gatewayclasses',
      'pods',
      'services',
    ],
    ...[
      'deployments',
      'daemonsets',
      'configmaps',
      'secrets',
      'serviceaccounts',
      'leases',
      'poddisruptionbudgets',
    ],
  ].join()
  await poll(
    'no object of ours',
    async () => {
      const left = (await cluster.kubectl('get', kinds, '-A', '-o', 'name')).split('\n')
      return left.every((line) => !/sidestep|ztunnel|istio/.test(line)) || null
    },
    WAIT_MS,
  )
  t.equal(await redirections(), '', 'nothing on the pods')
  const failed = await failuresSince(before)
  t.ok(failed <= MOST_LOST, `${failed} failed`)
  t.equal(await rulesOf('front'), '', 'and no rule in them')
  await cluster.apply(LOOK)
  await cluster.kubectl('rollout', 'status', 'daemonset/look', '--timeout=60s')
  const look = await poll('both have looked', async () => {
    const text = await cluster.kubectl('logs', '-l', 'app=look', '--tail=-1')
    return text.split('\n').filter((line) => line === 'looked').length === 2 ? text : null
  })
  t.match(look, /"portmap"/)
  t.notMatch(look, /sidestep/, 'the CNI of the nodes is as it was, and starts pods')
  const told = look.split('\n').filter((line) => line.startsWith('left in '))
  t.same(
    told.toSorted(),
    ['run-of-node', 'spool', 'state'].flatMap((name) => [`left in ${name}:`, `left in ${name}:`]),
    'and nothing is left in our directories',
  )
})
