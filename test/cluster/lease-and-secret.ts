// SPDX-License-Identifier: Apache-2.0
// The leader and the CA's keys of replicas on a real apiserver, with the rights of rbac.yaml.
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { RootAuthority } from '../../controller/ca/root-authority.ts'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import { LeaseElection } from '../../controller/kubernetes/lease.ts'
import { openSecretKeyStore } from '../../controller/kubernetes/secret-key-store.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'

const RBAC = fileURLToPath(new URL('../../controller/rbac.yaml', import.meta.url))
const ELECTOR = fileURLToPath(new URL('../support/lease-elector.ts', import.meta.url))
const NAMESPACE = 'istio-system'
const SECRET = { namespace: NAMESPACE, name: 'sidestep-ca' }
/** Promised are 5 s; what it took is told, and only a defect takes this long. */
const FAILOVER_MS = 20_000

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open({ kinds: false })
t.teardown(() => cluster.close())
await cluster.apply(await readFile(RBAC, 'utf8'))
const token = (await cluster.kubectl('-n', NAMESPACE, 'create', 'token', 'sidestep-controller')).trim()
const client = () =>
  new KubernetesClient(
    kubeConfigAccess(() => cluster.loadWithToken(token)),
    systemClock,
  )

async function until(what: string, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + 30_000
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

function elect(holder: string): LeaseElection {
  const election = new LeaseElection({
    ...{ client: client(), namespace: NAMESPACE, name: 'sidestep-controller', holder },
    ...{ clock: systemClock, monotonicMs: () => performance.now(), random: Math.random },
  })
  election.start(() => undefined)
  return election
}

t.test(
  'one of three replicas leads; when it gives up or the apiserver was away one leads again',
  async (t) => {
    const replicas = ['a', 'b', 'c'].map(elect)
    const leaders = () => replicas.filter(({ fence }) => fence !== null)
    let most = 0
    const watch = setInterval(() => {
      most = Math.max(most, leaders().length)
    }, 2)
    t.teardown(() => clearInterval(watch))
    await until('one leads', () => leaders().length === 1)
    const [first] = leaders()
    const firstFence = Number(first?.fence)
    const gaveUpMs = performance.now()
    await first?.stop()
    await until('another leads', () => leaders().length === 1)
    t.ok(performance.now() - gaveUpMs < FAILOVER_MS)
    t.not(leaders()[0], first)
    t.ok(Number(leaders()[0]?.fence) > firstFence)
    await cluster.signal('kube-apiserver', 'SIGSTOP')
    await until('nobody believes to lead while nothing can be renewed', () => leaders().length === 0)
    await cluster.signal('kube-apiserver', 'SIGCONT')
    await until('one leads again', () => leaders().length === 1)
    await Promise.all(replicas.map((replica) => replica.stop()))
    const lease = JSON.parse(
      await cluster.kubectl('-n', NAMESPACE, 'get', 'lease', 'sidestep-controller', '-o', 'json'),
    )
    t.equal(lease.spec.holderIdentity, '', 'the last one gave it up')
    t.equal(most, 1, 'never two at once')
  },
)

/** An elector in a process of its own, which can crash and stand still. */
function electElsewhere(holder: string) {
  const child = spawn(process.execPath, ['--no-warnings', ELECTOR, cluster.kubeconfig, token, holder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const said: string[] = []
  child.stdout
    .setEncoding('utf8')
    .on('data', (text: string) => said.push(...text.split('\n').filter(Boolean)))
  const fence = () => (said.at(-1) ?? 'fence null').slice('fence '.length)
  return { child, said, fence }
}

t.test('a leader that crashes is replaced within five seconds', async (t) => {
  const gone = electElsewhere('gone')
  await until('it leads', () => gone.fence() !== 'null')
  const other = elect('other')
  const crashedMs = performance.now()
  gone.child.kill('SIGKILL')
  await until('the other leads', () => other.fence !== null)
  const failoverMs = performance.now() - crashedMs
  t.comment(`another leads after ${Math.round(failoverMs)} ms`)
  t.ok(failoverMs < FAILOVER_MS)
  t.ok(Number(other.fence) > Number(gone.fence()))
  await other.stop()
})

t.test('a leader that stood still does not believe in itself for a moment when it wakes', async (t) => {
  const asleep = electElsewhere('asleep')
  t.teardown(() => asleep.child.kill('SIGKILL'))
  await until('it leads', () => asleep.fence() !== 'null')
  const old = asleep.fence()
  const other = elect('other')
  asleep.child.kill('SIGSTOP')
  await until('the other leads', () => other.fence !== null)
  asleep.said.length = 0
  asleep.child.kill('SIGCONT')
  await until('it is awake', () => asleep.said.length > 20)
  t.notOk(asleep.said.includes(`fence ${old}`))
  t.same([...new Set(asleep.said)], ['fence null'])
  t.not(other.fence, null)
  await other.stop()
})

t.test('texts of the CA are in one Secret, changed only by who has read the newest', async (t) => {
  const store = openSecretKeyStore(client(), SECRET)
  t.equal(await store.read('authority'), null)
  t.equal(await store.write('authority', 'one', 'something'), false)
  t.equal(await store.write('authority', 'one', null), true)
  t.equal(await store.write('authority', 'again', null), false)
  const first = await store.read('authority')
  t.equal(first?.text, 'one')
  t.equal(await store.write('revocations', 'r', null), true, 'another text beside it')
  t.equal(await store.write('authority', 'two', first?.version ?? null), true, 'is no hindrance')
  t.equal(await store.write('authority', 'three', first?.version ?? null), false)
  t.equal((await store.read('authority'))?.text, 'two')
  const race = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const own = openSecretKeyStore(client(), SECRET)
      const newest = await store.read('authority')
      return await own.write('authority', `of ${index}`, newest?.version ?? null)
    }),
  )
  t.equal(race.filter(Boolean).length, 1, 'of eight at once one has won')
  await cluster.kubectl('-n', NAMESPACE, 'delete', 'secret', SECRET.name)
})

t.test('two replicas on one Secret have one root, also while the apiserver is away', async (t) => {
  const open = () =>
    RootAuthority.open({
      store: openSecretKeyStore(client(), SECRET),
      trustDomain: 'cluster.local',
      clock: systemClock,
    })
  const [left, right] = await Promise.all([open(), open()])
  const roots = await left.rootsPem()
  t.equal(await right.rootsPem(), roots)
  t.match(roots, /BEGIN CERTIFICATE/)
  await cluster.kill('kube-apiserver')
  t.equal(await right.rootsPem(), roots)
  await t.rejects(openSecretKeyStore(client(), SECRET).read('authority'), {
    code: 'APISERVER_UNAVAILABLE',
    retryable: true,
  })
  await cluster.start('kube-apiserver')
})

t.test('a damaged Secret, and one that may not be read, are told as what they are', async (t) => {
  const admin = cluster.admin()
  const path = `/api/v1/namespaces/${NAMESPACE}/secrets/${SECRET.name}`
  await admin.merge(path, { data: { authority: '', odd: '/w==' } }, AbortSignal.timeout(10_000))
  const store = openSecretKeyStore(client(), SECRET)
  await t.rejects(store.read('authority'), { code: 'CA_KEY' })
  const elsewhere = openSecretKeyStore(client(), { ...SECRET, name: 'another' })
  await t.rejects(elsewhere.read('authority'), { code: 'APISERVER_DENIED', detail: /another/ })
})
