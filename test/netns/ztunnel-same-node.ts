// SPDX-License-Identifier: Apache-2.0
// Two pods of one node that opted in to be connected without a tunnel: both ends say the same as they do over HBONE, policies
// and their changes work the same, no packet crosses a link, and whoever did not opt in, or is strict, has the tunnel.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { PacketCapture } from '../support/packet-capture.ts'

const AGENT = fileURLToPath(new URL('../support/pod-agent.ts', import.meta.url))
const BATCH_IP = '10.1.0.2'
const VIP = '10.96.0.20'
const HOST = 'batch.shop.svc.cluster.local'
const PORTS = '{80: 8080, 90: 9000, 91: 9001, 92: 9002, 99: 9999}'
const REQUEST = 'GET / HTTP/1.1\r\nhost: batch\r\n\r\n'
const ONE_TEST = { timeout: 40_000 }
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`
const STRICT =
  '- {name: istio_converted_static_strict, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{notPrincipals: [!Presence []]}]]]}\n'
const DENY = (port: number): string =>
  '- {name: no-front, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  `rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/front], destinationPorts: [${port}]}]]]}\n`

interface Wish {
  /** Who opted in. */
  readonly direct?: readonly string[]
  readonly policies?: string
  /** batch is behind a waypoint that nobody knows yet. */
  readonly isGuarded?: boolean
  /** The address the model has of batch. */
  readonly batchIp?: string
}
const BOTH = ['front', 'batch']

function mesh({ direct = BOTH, policies = '', isGuarded = false, batchIp = BATCH_IP }: Wish): string {
  const guard = isGuarded ? ' authorizationPolicies: [shop/sidestep_waypoint_only_shop_wp],' : ''
  const opted = (name: string): string => (direct.includes(name) ? ', sameNode: direct' : '')
  return labMesh([])
    .replace(/(uid: front,.*)\}\n/, `$1${opted('front')}}\n`)
    .replace(
      /(uid: batch,.*)services: \{\}\}\n/,
      `$1services: {"shop/${HOST}": ${PORTS}}${opted('batch')}}\n`,
    )
    .replace('uid: batch,', `uid: batch,${guard}`)
    .replace(`workloadIps: ["${BATCH_IP}"]`, `workloadIps: ["${batchIp}"]`)
    .replace(
      'services:\n',
      `services:\n- {name: batch, namespace: shop, hostname: ${HOST}, vips: ["/${VIP}"], ports: ${PORTS}}\n`,
    )
    .concat(policies)
}

/** Of the model that every worker has. */
async function versionOf(lab: MeshLab): Promise<number | undefined> {
  const { text } = await lab.admin('n1', '/workers')
  const { model } = JSON.parse(text) as { model: { inForce?: { version?: number } | null } } // as: the route's answer
  return model.inForce?.version
}

async function configure(lab: MeshLab, wish: Wish): Promise<void> {
  const before = await versionOf(lab)
  await lab.configure(mesh(wish))
  await poll('the configuration in force', async () => (await versionOf(lab)) !== before || null)
}

interface Pair {
  readonly outbound: LabRecord
  readonly inbound: LabRecord
}

/** The records of one connection, at both of its ends. */
async function recordsOf(lab: MeshLab, known: number): Promise<Pair> {
  const all = await poll('both records', async () => {
    const records = (await lab.records('n1')).slice(known)
    return records.length >= 2 ? records : null
  })
  const [outbound, inbound] = ['outbound', 'inbound'].map((each) =>
    all.find(({ direction }) => direction === each),
  )
  if (outbound === undefined || inbound === undefined || all.length > 2) throw new Error(JSON.stringify(all))
  return { outbound, inbound }
}

/** One request from front to batch, to its end. */
async function ask(lab: MeshLab, ip: string, port: number): Promise<Pair & { readonly socket: LabSocket }> {
  const known = (await lab.records('n1')).length
  const socket = lab.connect('front', ip, port)
  socket.write(REQUEST)
  await socket.until('an answer', ({ text, isClosed }) => text.includes('client ') || isClosed)
  socket.end()
  await socket.until('the end', ({ isClosed }) => isClosed)
  return { ...(await recordsOf(lab, known)), socket }
}

/** What differs between two connections whatever way they take. */
const OF_ITS_OWN = ['time', 'duration_ms', 'connect_ms', 'src.addr', 'traceparent']
/** What tells the way. */
const OF_THE_WAY = ['transport', 'dst.addr']

function comparable(record: LabRecord, without: readonly string[]): LabRecord {
  return Object.fromEntries(
    Object.entries(record).filter(([name]) => !OF_ITS_OWN.includes(name) && !without.includes(name)),
  )
}

async function testSameRecords(t: Test, lab: MeshLab): Promise<void> {
  for (const [what, ip, port, policies] of [
    ['a service', VIP, 80, ''],
    ['a pod', BATCH_IP, 8080, ''],
    ['a policy that refuses', VIP, 80, DENY(8080)],
    ['a port nobody listens on', VIP, 99, ''],
  ] as const) {
    await t.test(`${what}: records and answer are those of a tunnel`, ONE_TEST, async (t) => {
      await configure(lab, { direct: [], policies })
      const tunnelled = await ask(lab, ip, port)
      await configure(lab, { policies })
      const local = await ask(lab, ip, port)
      t.same([tunnelled.outbound.transport, tunnelled.inbound.transport], ['HBONE', 'HBONE'])
      t.same([local.outbound.transport, local.inbound.transport], ['LOCAL', 'LOCAL'])
      const heard = ({ text, error }: LabSocket): string[] => [text.replace(/^Date: .*$/m, ''), error]
      t.same(heard(local.socket), heard(tunnelled.socket))
      for (const side of ['outbound', 'inbound'] as const)
        t.same(comparable(local[side], OF_THE_WAY), comparable(tunnelled[side], OF_THE_WAY), side)
      t.match(local.inbound, { 'src.identity': identity('front'), 'src.workload': 'front' })
      if (local.outbound.reason !== 'OK') return
      t.match(local.socket.text, /client 10\.1\.0\.1$/, 'the application sees its client')
      const { text } = await lab.admin('n1', '/metrics')
      t.match(text, /connections_opened_total\{reporter="destination".*security_policy="mutual_tls"/)
    })
  }
}

async function testPackets(t: Test, lab: MeshLab): Promise<void> {
  await t.test('no packet crosses a link of either pod', ONE_TEST, async (t) => {
    await configure(lab, {})
    const links = [lab.network.pod('front'), lab.network.pod('batch')]
    const captures = links.map(({ namespace }) => PacketCapture.open(namespace, 'eth0'))
    const { outbound, socket } = await ask(lab, VIP, 80)
    t.match(socket.text, /200 OK/)
    t.equal(outbound.transport, 'LOCAL')
    const bulk = lab.connect('front', VIP, 92, 'paused')
    await bulk.until('connected', ({ isConnected }) => isConnected)
    bulk.count()
    await bulk.until('all of it', ({ hasEnded }) => hasEnded)
    bulk.end()
    await bulk.until('closed', ({ isClosed }) => isClosed)
    for (const capture of captures) {
      t.equal(capture.close(), 0, 'the capture missed nothing')
      const ipv4 = capture.packets.filter((packet) => packet.readUInt16BE(12) === 0x0800)
      t.same(
        ipv4.map((packet) => packet.toString('hex', 14, 40)),
        [],
      )
    }
  })
}

async function testOthers(t: Test, lab: MeshLab): Promise<void> {
  for (const [what, wish] of [
    ['only the caller opted in', { direct: ['front'] }],
    ['only the called one opted in', { direct: ['batch'] }],
    ['both are strict', { policies: STRICT }],
  ] as const) {
    await t.test(`${what}: through a tunnel`, ONE_TEST, async (t) => {
      await configure(lab, wish)
      const { outbound, inbound, socket } = await ask(lab, VIP, 80)
      t.match(socket.text, /200 OK/)
      t.same([outbound.transport, inbound.transport], ['HBONE', 'HBONE'])
    })
  }

  await t.test('whoever is not of the mesh has no identity, as ever', ONE_TEST, async (t) => {
    await configure(lab, {})
    const known = (await lab.records('n1')).length
    const socket = lab.connect('stranger', BATCH_IP, 8080)
    socket.write(REQUEST)
    await socket.until('an answer', ({ text }) => text.includes('client '))
    socket.end()
    const [record] = await lab.recordsAfter('n1', known, ({ direction }) => direction === 'inbound')
    t.match(record, { transport: 'TCP' })
    t.equal(record?.['src.identity'], undefined)
  })

  await t.test('an address that is not the pod’s own is not taken for it', ONE_TEST, async (t) => {
    await configure(lab, { batchIp: '10.1.0.3' }) // where the stranger is
    const known = (await lab.records('n1')).length
    const socket = lab.connect('front', VIP, 80)
    socket.write(REQUEST)
    await socket.until('refused', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    const [record] = await lab.recordsAfter('n1', known, ({ direction }) => direction === 'outbound')
    t.match(record, { reason: 'HBONE_PORT_REFUSED', transport: 'HBONE' })
    await configure(lab, {})
  })
}

async function testLive(t: Test, lab: MeshLab): Promise<void> {
  await t.test('halves end alone, and megabytes are the same at the other end', ONE_TEST, async (t) => {
    const question = Array.from({ length: 400_000 }, (_, index) => `line ${index}\n`).join('')
    const socket = lab.connect('front', VIP, 90)
    socket.write(question)
    socket.end()
    await socket.until('the whole answer', ({ isClosed }) => isClosed)
    t.ok(socket.text === question, `${socket.text.length} bytes`)
  })

  await t.test('a new policy ends what is open, with the reasons of a tunnel', ONE_TEST, async (t) => {
    const ends: Pair[] = []
    for (const direct of [[], BOTH]) {
      await configure(lab, { direct })
      const known = (await lab.records('n1')).length
      const socket = lab.connect('front', VIP, 91)
      await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
      await configure(lab, { direct, policies: DENY(9001) })
      await socket.until('the end', ({ isClosed }) => isClosed)
      ends.push(await recordsOf(lab, known))
    }
    const [tunnelled, local] = ends
    t.match(local?.inbound, { transport: 'LOCAL', reason: 'POLICY_CHANGED', policy: 'shop/no-front' })
    t.equal(local?.outbound.reason, tunnelled?.outbound.reason)
    t.equal(local?.inbound.reason, tunnelled?.inbound.reason)
  })

  await t.test(
    'a waypoint before the destination is not gone round inside the node either',
    ONE_TEST,
    async (t) => {
      await configure(lab, {})
      const known = (await lab.records('n1')).length
      const open = lab.connect('front', VIP, 91)
      await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
      await configure(lab, { isGuarded: true })
      await open.until('the end', ({ isClosed }) => isClosed)
      t.match((await recordsOf(lab, known)).inbound, { transport: 'LOCAL', reason: 'POLICY_CHANGED' })
      const then = (await lab.records('n1')).length
      const refused = lab.connect('front', VIP, 91)
      await refused.until('the end', ({ isClosed }) => isClosed)
      t.equal(refused.text, '')
      t.match((await recordsOf(lab, then)).inbound, { transport: 'LOCAL', reason: 'WAYPOINT_MISSING' })
    },
  )

  for (const [what, wish] of [
    ['the called one opts out', { direct: ['front'] }],
    ['the caller opts out', { direct: ['batch'] }],
    ['they become strict', { policies: STRICT }],
  ] as const) {
    await t.test(`${what}: what is open without a tunnel ends, the next one has one`, ONE_TEST, async (t) => {
      await configure(lab, {})
      const known = (await lab.records('n1')).length
      const open = lab.connect('front', VIP, 91)
      await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
      await configure(lab, wish)
      await open.until('the end', ({ isClosed }) => isClosed)
      t.match((await recordsOf(lab, known)).inbound, { transport: 'LOCAL', reason: 'POLICY_CHANGED' })
      t.match((await ask(lab, VIP, 80)).inbound, { transport: 'HBONE', reason: 'OK' })
    })
  }

  await t.test('a client that breaks off is told at both ends', ONE_TEST, async (t) => {
    await configure(lab, {})
    const known = (await lab.records('n1')).length
    const socket = lab.connect('front', VIP, 91)
    await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    socket.destroy()
    const { outbound, inbound } = await recordsOf(lab, known)
    t.same([outbound.transport, inbound.transport], ['LOCAL', 'LOCAL'])
    const { text } = await lab.admin('n1', '/connections')
    t.same(JSON.parse(text), [])
  })
}

t.setTimeout(280_000)
t.test('connections inside a node', { timeout: 250_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), mesh({}))
  t.teardown(() => lab.close())
  const start = (): ChildProcess =>
    spawn(process.execPath, ['--no-warnings', AGENT, 'serve'], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
  const application = lab.namespaceOf('batch').run(start)
  t.teardown(() => {
    if (application.connected) application.disconnect()
  })
  await once(application, 'message')
  await testSameRecords(t, lab)
  await testPackets(t, lab)
  await testOthers(t, lab)
  await testLive(t, lab)
})
