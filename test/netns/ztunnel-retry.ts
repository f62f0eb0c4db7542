// SPDX-License-Identifier: Apache-2.0
// Endpoints that fail before a byte was sent: another one is tried, who failed is passed over, and the record and a metric
// tell of it. What a policy refuses is refused once.
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ConnectionRow } from '../../cli/commands/tables.ts'
import { ATTEMPT_TIMEOUT_MS } from '../../mesh/balance/limits.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const [CART_IP, CART_VIP] = ['10.2.0.1', '10.96.0.10'] as const
const HOST = 'cart.shop.svc.cluster.local'
const SERVICES = `{"shop/${HOST}": {80: 8080}}`
const CALLS = 60
/** A service whose server speaks first; at its other endpoint whatever is accepted is broken off. */
const FIRST_PORT = 81
const WORKERS = 6
/** Connections that stay open, so that they are spread over all workers; each worker picks both endpoints at least once. */
const HELD = 8 * WORKERS
/** Of each of six workers some, most likely. */
const WARM_UP_CALLS = 24
/** Between two of them: what one worker has found out is told within a millisecond or two. */
const TOLD_WITHIN_MS = 20
const REQUEST = 'GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n'

/** The service has two endpoints: one that serves, one whose port is closed. */
function pair(denied: readonly string[]): string {
  return labMesh(denied).replace(/(uid: front,.*services: )\{\}/, `$1${SERVICES}`)
}

/** The service has three endpoints: one that serves, one whose port is closed, one whose address is nobody's. */
function mesh(denied: readonly string[]): string {
  const ghost =
    '- {uid: ghost, name: ghost, namespace: shop, serviceAccount: cart, trustDomain: cluster.local, ' +
    `workloadIps: ["10.2.0.77"], protocol: HBONE, node: n2, services: ${SERVICES}}\n`
  return pair(denied).replace('workloads:\n', `workloads:\n${ghost}`)
}

async function call(
  lab: MeshLab,
  ip: string = CART_VIP,
  port = 80,
): Promise<{ readonly isGood: boolean; readonly tookMs: number }> {
  const startedMs = performance.now()
  const socket = lab.connect('batch', ip, port)
  socket.write(REQUEST)
  await socket.until('an answer', ({ text, isClosed }) => text.includes('client ') || isClosed)
  socket.destroy()
  return { isGood: socket.text.includes('200 OK'), tookMs: performance.now() - startedMs }
}

/** The first connections of a process may take longer than an attempt has, on a busy machine: that is another matter. */
async function warm(lab: MeshLab): Promise<void> {
  for (let index = 0; index < WARM_UP_CALLS; index++)
    await poll('an answer', async () => (await call(lab, CART_IP, 8080)).isGood || null)
}

async function testEndpoints(t: Test, lab: MeshLab): Promise<void> {
  await t.test('no call fails, and dead endpoints cost time only once in a while', async (t) => {
    const calls = []
    for (let index = 0; index < CALLS; index++) calls.push(await call(lab))
    t.equal(calls.filter(({ isGood }) => isGood).length, CALLS)
    const slow = calls.filter(({ tookMs }) => tookMs > ATTEMPT_TIMEOUT_MS / 2).length
    t.comment(`${slow} of ${CALLS} calls waited for the dead address`)
    t.ok(slow < CALLS / 4)
  })

  await t.test('both failures are told', async (t) => {
    const records = await lab.recordsAfter('n1', 0, ({ retries }) => retries !== undefined)
    t.ok(records.length > 0)
    for (const record of records)
      t.match(record, { direction: 'outbound', reason: 'OK', 'dst.hbone_addr': '10.2.0.1:8080' })
    const { text } = await lab.admin('n1', '/metrics')
    t.match(text, /^sidestep_connect_retries_total\{reason="ENDPOINT_REFUSED"\} [1-9]/m)
    t.match(text, /^sidestep_connect_retries_total\{reason="(CONNECT_TIMEOUT|NETWORK_UNREACHABLE)"\} [1-9]/m)
  })
}

async function testRefusal(t: Test, lab: MeshLab): Promise<void> {
  await t.test('what a policy refuses is not tried elsewhere', async (t) => {
    await lab.configure(mesh(['batch']))
    const isDenied = ({ reason }: LabRecord): boolean => reason === 'POLICY_DENY'
    const denied = async (): Promise<readonly LabRecord[]> => {
      const records = [...(await lab.records('n1')), ...(await lab.records('n2'))]
      return records.filter(isDenied)
    }
    await poll('a refusal', async () => {
      await call(lab)
      return (await denied()).length > 0 || null
    })
    const known = await denied()
    for (let index = 0; index < 10; index++) await call(lab)
    const counts = await poll('all of them', async () => {
      const fresh = await denied()
      const count = (direction: string): number =>
        [fresh, known]
          .map((list) => list.filter((each) => each.direction === direction).length)
          .reduce((a, b) => a - b)
      return count('outbound') >= 10 ? { outbound: count('outbound'), inbound: count('inbound') } : null
    })
    t.same(counts, { outbound: 10, inbound: 10 }, 'one endpoint refuses, no other is asked')
  })
}

t.setTimeout(150_000)
t.test('endpoints that fail', { timeout: 120_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), mesh([]))
  t.teardown(() => lab.close())
  await warm(lab)
  await testEndpoints(t, lab)
  await testRefusal(t, lab)
})

async function retries(lab: MeshLab, reason: string): Promise<number> {
  const { text } = await lab.admin('n1', '/metrics')
  return Number(
    new RegExp(`^sidestep_connect_retries_total\\{reason="${reason}"\\} (\\d+)`, 'm').exec(text)?.[1] ?? 0,
  )
}

async function workersInUse(lab: MeshLab): Promise<number> {
  const { text } = await lab.admin('n1', '/connections')
  const rows = (JSON.parse(text) as readonly (ConnectionRow & { readonly worker: number })[]) // as: our API
    .filter(({ direction }) => direction === 'outbound')
  return new Set(rows.map(({ worker }) => worker)).size
}

t.test('what one worker has found out all of them know', { timeout: 120_000 }, async (t) => {
  const options = { SIDESTEP_WORKER_COUNT: String(WORKERS) }
  const lab = await MeshLab.start(labDirectory(t), pair([]), options)
  t.teardown(() => lab.close())
  await warm(lab)
  const startedMs = performance.now()
  for (let index = 0; index < HELD; index++) {
    const socket = lab.connect('batch', CART_VIP, 80)
    socket.write('GET / HTTP/1.1\r\nhost: cart\r\n\r\n')
    await socket.until('an answer', ({ text, isClosed }) => text.includes('client ') || isClosed)
    t.match(socket.text, '200 OK')
    await wait(TOLD_WITHIN_MS)
  }
  const elapsedSeconds = (performance.now() - startedMs) / 1000
  t.equal(await workersInUse(lab), WORKERS)
  // Of one worker: once, and each time its demotion, doubled every time, is over.
  const ofOneWorker = 1 + Math.floor(Math.log2(elapsedSeconds + 1))
  const count = await retries(lab, 'ENDPOINT_REFUSED')
  t.comment(`${count} of ${HELD} connections came to the closed port, in ${elapsedSeconds.toFixed(1)} s`)
  t.ok(count >= 1)
  t.ok(count <= ofOneWorker + 2, 'as if there were one worker, but for two that pick at the same time')
})

function breakingMesh(): string {
  const services = (port: number): string => `{"shop/${HOST}": {${FIRST_PORT}: ${port}}}`
  return labMesh([])
    .replace(/(uid: front,.*services: )\{\}/, `$1${services(9005)}`)
    .replace(/(uid: cart,.*services: )\{.*8080\}\}/, `$1${services(9001)}`)
    .replace('ports: {80: 8080}', `ports: {${FIRST_PORT}: 9001}`)
}

t.test('an endpoint that takes a connection and breaks it off', { timeout: 120_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), breakingMesh(), {}, async (lab) => {
    lab.serving = ['front', 'cart']
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  const broken = (): number => lab.heard('front').filter((each) => each === '9005 accepted').length

  await t.test('nothing was said yet: another one takes it, and the caller hears of nothing', async (t) => {
    for (let index = 0; index < CALLS || (await retries(lab, 'STREAM_RESET')) === 0; index++) {
      const socket = lab.connect('batch', CART_VIP, FIRST_PORT)
      await socket.until('a greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
      t.match(socket, { text: '220 cart\r\n', error: '', isClosed: false })
      socket.destroy()
    }
    const records = await poll('records of retries', () => {
      const retried = lab.writtenRecords('n1').filter(({ retries }) => retries !== undefined)
      return retried.length > 0 ? retried : null
    })
    for (const record of records)
      t.match(record, { reason: 'OK', retries: 1, 'dst.hbone_addr': '10.2.0.1:9001' })
    t.comment(`${broken()} were broken off`)
  })

  await t.test('a byte was sent: nobody knows what was done with it, and the caller hears', async (t) => {
    const known = lab.writtenRecords('n1').length
    await poll('one that is broken off', async () => {
      const before = broken()
      const socket = lab.connect('batch', CART_VIP, FIRST_PORT)
      socket.write('x')
      await socket.until('an end', ({ text, isClosed }) => text !== '' || isClosed)
      socket.destroy()
      return (broken() > before && socket.error === 'ECONNRESET' && socket.text === '') || null
    })
    // Of the others some were reset by the caller, which had its answer.
    const isBroken = ({ direction, reason }: LabRecord): boolean =>
      direction === 'outbound' && reason === 'STREAM_RESET'
    const record = await poll(
      'its record',
      () => lab.writtenRecords('n1').slice(known).find(isBroken) ?? null,
    )
    t.match(record, { bytes_sent: 1 })
    t.equal(record.retries, undefined)
  })

  await t.test('what was opened at both is closed at both', async (t) => {
    await poll('as many', async () => {
      const { text } = await lab.admin('n1', '/metrics')
      const sum = (name: string): number =>
        [...text.matchAll(new RegExp(`^${name}_total\\{reporter="source".*\\} (\\d+)$`, 'gm'))].reduce(
          (total, [, count]) => total + Number(count),
          0,
        )
      return sum('istio_tcp_connections_opened') === sum('istio_tcp_connections_closed') || null
    })
    t.pass('in the metrics')
  })
})
