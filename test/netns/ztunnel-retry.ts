// SPDX-License-Identifier: Apache-2.0
// Endpoints that fail before a byte was sent: another one is tried, who failed is passed over, and the record and a metric
// tell of it. What a policy refuses is refused once.
import t, { type Test } from 'tap'
import { ATTEMPT_TIMEOUT_MS } from '../../mesh/balance/limits.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_VIP = '10.96.0.10'
const HOST = 'cart.shop.svc.cluster.local'
const SERVICES = `{"shop/${HOST}": {80: 8080}}`
const CALLS = 60
const REQUEST = 'GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n'

/** The service has three endpoints: one that serves, one whose port is closed, one whose address is nobody's. */
function mesh(denied: readonly string[]): string {
  const ghost =
    '- {uid: ghost, name: ghost, namespace: shop, serviceAccount: cart, trustDomain: cluster.local, ' +
    `workloadIps: ["10.2.0.77"], protocol: HBONE, node: n2, services: ${SERVICES}}\n`
  return labMesh(denied)
    .replace(/(uid: front,.*services: )\{\}/, `$1${SERVICES}`)
    .replace('workloads:\n', `workloads:\n${ghost}`)
}

async function call(lab: MeshLab): Promise<{ readonly isGood: boolean; readonly tookMs: number }> {
  const startedMs = performance.now()
  const socket = lab.connect('batch', CART_VIP, 80)
  socket.write(REQUEST)
  await socket.until('an answer', ({ text, isClosed }) => text.includes('client ') || isClosed)
  socket.destroy()
  return { isGood: socket.text.includes('200 OK'), tookMs: performance.now() - startedMs }
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
  await testEndpoints(t, lab)
  await testRefusal(t, lab)
})
