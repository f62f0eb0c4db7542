// SPDX-License-Identifier: Apache-2.0
// All endpoints of a service are dead, and callers go on calling: what is tried again is bounded by the budget, whatever the
// load, and counted where it arrives; when it is over there is a budget again.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { MAX_ATTEMPTS, RETRIES_PER_SECOND, RETRY_PERCENT } from '../../mesh/balance/limits.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const VIP = '10.96.0.10'
const HOST = 'cart.shop.svc.cluster.local'
const SERVICES = `{"shop/${HOST}": {80: 8080}}`
const REQUEST = 'GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n'
/** Nobody listens in any of them. They are called without tunnel; front, through one. */
const DEAD = { d1: '10.1.0.11', d2: '10.1.0.12', d3: '10.1.0.13' } as const
const WORKERS = 2
const CALLS = 1000
const AT_ONCE = 25
const AFTER = 4
/** Every worker has its second attempts of one second again. */
const RECOVERY_MS = 1500

/** `isCartThere`: one endpoint of the service lives. */
function mesh(isCartThere: boolean): string {
  const dead = Object.entries(DEAD).map(
    ([name, ip]) =>
      `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: cart, trustDomain: cluster.local, ` +
      `workloadIps: ["${ip}"], protocol: TCP, node: n1, services: ${SERVICES}}\n`,
  )
  const all = labMesh([])
    .replace(/(uid: front,.*services: )\{\}/, `$1${SERVICES}`)
    .replace('workloads:\n', `workloads:\n${dead.join('')}`)
  return isCartThere ? all : all.replace(/(uid: cart,.*services: )\{.*\}\}\}/, '$1{}}')
}

/** True when it was answered; false when it was refused. */
async function call(lab: MeshLab): Promise<boolean> {
  const socket = lab.connect('batch', VIP, 80)
  socket.write(REQUEST)
  await socket.until('an end', ({ text, isClosed }) => text.includes('client ') || isClosed)
  socket.destroy()
  return socket.text.includes('200 OK')
}

/** Outbound records of calls to the service, all since the start. */
function records(lab: MeshLab): readonly LabRecord[] {
  return readFileSync(join(lab.directory, 'records', 'n1'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LabRecord) // as: the ztunnel's own lines
    .filter(({ direction, 'dst.service': service }) => direction === 'outbound' && service === HOST)
}

async function recordsOf(lab: MeshLab, count: number): Promise<readonly LabRecord[]> {
  return await poll(`${count} records`, () => {
    const all = records(lab)
    return all.length >= count ? all : null
  }).catch((error: Error) => {
    throw new Error(`${error.message}, but ${records(lab).length}`)
  })
}

/** Connects that a closed port has answered, in all dead pods: each is one reset. */
function refusedConnects(lab: MeshLab): number {
  const resets = ['front', ...Object.keys(DEAD)].map((name) => {
    const text = lab.network
      .pod(name)
      .namespace.run(() => readFileSync('/proc/thread-self/net/snmp', 'latin1'))
    const [names = [], values = []] = text
      .split('\n')
      .filter((line) => line.startsWith('Tcp:'))
      .map((line) => line.split(' '))
    return Number(values[names.indexOf('OutRsts')])
  })
  return resets.reduce((sum, each) => sum + each)
}

async function retries(lab: MeshLab): Promise<number> {
  const { text } = await lab.admin('n1', '/metrics')
  const samples = text.matchAll(/^sidestep_connect_retries_total\{.*\} (\d+)$/gm)
  return [...samples].reduce((sum, [, count]) => sum + Number(count), 0)
}

const retriesOf = (list: readonly LabRecord[]): number =>
  list.reduce((sum, { retries: count = 0 }) => sum + Number(count), 0)

t.setTimeout(200_000)
t.test('a service that is dead', { timeout: 180_000 }, async (t) => {
  const options = { SIDESTEP_WORKER_COUNT: String(WORKERS) }
  const lab = await MeshLab.start(labDirectory(t), mesh(false), options, undefined, DEAD)
  t.teardown(() => lab.close())

  await t.test(
    'calls in plenty: second attempts are a share of the first, and told as they were',
    async (t) => {
      const before = refusedConnects(lab)
      const startedMs = performance.now()
      let answered = 0
      const caller = async (): Promise<void> => {
        for (let index = 0; index < CALLS / AT_ONCE; index++) if (await call(lab)) answered++
      }
      await Promise.all(Array.from({ length: AT_ONCE }, caller))
      const elapsedSeconds = (performance.now() - startedMs) / 1000
      t.equal(answered, 0)
      const told = await recordsOf(lab, CALLS)
      t.equal(told.length, CALLS, 'one record each')
      t.same([...new Set(told.map(({ reason }) => reason))], ['ENDPOINT_REFUSED'])
      const connects = refusedConnects(lab) - before
      const bound =
        CALLS * (1 + RETRY_PERCENT / 100) + WORKERS * RETRIES_PER_SECOND * (1 + Math.ceil(elapsedSeconds))
      t.comment(`${connects} connects for ${CALLS} calls in ${elapsedSeconds.toFixed(1)} s, bound ${bound}`)
      t.equal(connects, CALLS + retriesOf(told), 'every connect that arrived is in a record')
      t.equal(await retries(lab), retriesOf(told), 'and every second attempt in the metric')
      t.ok(connects <= bound)
      t.ok(connects > CALLS, 'some were tried elsewhere')
      t.ok(
        told.some(({ retries }) => retries === undefined),
        'for others there was nothing left',
      )
    },
  )

  await t.test('later there is a budget again', async (t) => {
    await wait(RECOVERY_MS)
    for (let index = 0; index < AFTER; index++) t.equal(await call(lab), false)
    const told = (await recordsOf(lab, CALLS + AFTER)).slice(CALLS)
    t.equal(told.length, AFTER)
    for (const record of told)
      t.match(record, { reason: 'ENDPOINT_REFUSED', retries: MAX_ATTEMPTS - 1, detail: /3 endpoints failed/ })
  })

  await t.test('and an endpoint that lives is found', async (t) => {
    await lab.configure(mesh(true))
    await poll('an answer', async () => (await call(lab)) || null)
    const good = await poll('its record', () => records(lab).find(({ reason }) => reason === 'OK') ?? null)
    t.equal(good['dst.hbone_addr'], '10.2.0.1:8080')
  })
})
