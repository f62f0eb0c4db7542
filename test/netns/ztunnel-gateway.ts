// SPDX-License-Identifier: Apache-2.0
// A service in another network, reached through that network's gateway (double HBONE): the gateway learns where to and reads
// nothing, both its identity and that of whoever answers behind it are verified, and what fails is told by hop.
import t, { type Test } from 'tap'
import {
  CART_VIP,
  GATEWAY_IP,
  HOST,
  identity,
  type RunningGateway,
  reconfigure,
  startGateway,
  startGatewayLab,
} from '../support/gateway-lab.ts'
import type { LabRecord, LabSocket, MeshLab } from '../support/mesh-lab.ts'

const SECRET = 'the gateway must not read this'
const REQUEST = `GET / HTTP/1.1\r\nhost: cart\r\nx-secret: ${SECRET}\r\nconnection: close\r\n\r\n`
const ONE_TEST = { timeout: 40_000 }
const MANY = 20
const CART = '10.2.0.1:15008'

const isOver = ({ isClosed, hasEnded }: LabSocket): boolean => isClosed || hasEnded
const isOutbound = ({ direction }: LabRecord): boolean => direction === 'outbound'
const isInbound = ({ direction }: LabRecord): boolean => direction === 'inbound'
const count = async (lab: MeshLab, node: 'n1' | 'n2'): Promise<number> => (await lab.records(node)).length

async function ask(lab: MeshLab): Promise<LabSocket> {
  const socket = lab.connect('front', CART_VIP, 80)
  socket.write(REQUEST)
  await socket.until('an answer or an end', isOver)
  socket.end()
  await socket.until('the end', ({ isClosed }) => isClosed)
  return socket
}

/** Asks once; the record of the source. */
async function refusedWith(lab: MeshLab, reason: string): Promise<LabRecord> {
  const known = await count(lab, 'n1')
  const socket = await ask(lab)
  const records = await lab.recordsAfter('n1', known, (record) => record.reason === reason)
  const [record] = records
  if (record === undefined || socket.text !== '') throw new Error(`${reason}: ${socket.text}`)
  return record
}

async function testWay(t: Test, lab: MeshLab, gateway: RunningGateway): Promise<void> {
  await t.test(
    'both ends and the gateway tell the same way, and the gateway reads nothing',
    ONE_TEST,
    async (t) => {
      const known = { n1: await count(lab, 'n1'), n2: await count(lab, 'n2'), events: gateway.events.length }
      const socket = await ask(lab)
      t.match(socket.text, /200 OK[\s\S]*client /)
      const seen = await gateway.ended(known.events)
      t.match(seen, { authority: `${HOST}:80`, identity: identity('front'), hasSeenSecret: false })
      t.same(seen.firstBytes.slice(0, 2), [0x16, 0x03], 'a TLS record')
      t.match(seen.headers.baggage, /k8s\.namespace\.name=shop/)
      t.equal(seen.headers.forwarded?.endsWith(`;host=${HOST}`), true)
      t.equal(seen.headers['x-forwarded-network'], undefined, 'of the inner CONNECT only')
      const [ours] = await lab.recordsAfter('n1', known.n1, isOutbound)
      t.match(ours, {
        ...{
          reason: 'OK',
          transport: 'HBONE',
          'dst.addr': `${GATEWAY_IP}:15008`,
          'dst.hbone_addr': `${HOST}:80`,
        },
        ...{ 'dst.service': HOST, 'dst.identity': identity('cart'), 'dst.workload': 'cart' },
        ...{ bytes_sent: REQUEST.length, bytes_recv: socket.text.length },
      })
      const [theirs] = await lab.recordsAfter('n2', known.n2, isInbound)
      t.match(theirs, {
        ...{ reason: 'OK', 'src.identity': identity('front'), 'src.workload': 'front' },
        ...{ 'dst.hbone_addr': `${HOST}:80`, 'dst.identity': identity('cart') },
        ...{ bytes_recv: REQUEST.length, bytes_sent: socket.text.length },
      })
      t.match(theirs?.['src.addr'], new RegExp(`^${GATEWAY_IP}:`))
    },
  )

  await t.test('halves end alone and megabytes arrive as they were sent', ONE_TEST, async (t) => {
    const question = Array.from({ length: 150_000 }, (_, index) => `line ${index}\n`).join('')
    const socket = lab.connect('front', CART_VIP, 90)
    socket.write(question)
    socket.end()
    await socket.until('the whole answer', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    t.ok(socket.text === question, `${socket.text.length} bytes`)
    const bulk = lab.connect('front', CART_VIP, 92, 'paused')
    await bulk.until('connected', ({ isConnected }) => isConnected)
    bulk.count()
    await bulk.until('its end', ({ hasEnded, isClosed }) => hasEnded || isClosed)
    bulk.end()
    await bulk.until('closed', ({ isClosed }) => isClosed)
    t.match(bulk.text, /^\d{7,} [0-9a-f]{64}$/, 'a reader that was late got all of it')
  })

  await t.test(
    'connections share the tunnel to the gateway, and nothing is left of them',
    ONE_TEST,
    async (t) => {
      const known = gateway.events.length
      const sockets = Array.from({ length: MANY }, () => lab.connect('front', CART_VIP, 91))
      await Promise.all(sockets.map((each) => each.until('greeted', ({ text }) => text.endsWith('\r\n'))))
      for (const [index, each] of sockets.entries()) each.write(`number ${index};`)
      await Promise.all(
        sockets.map((each, index) => each.until('echo', ({ text }) => text.endsWith(`${index};`))),
      )
      for (const each of sockets) each.end()
      await Promise.all(sockets.map((each) => each.until('the end', ({ isClosed }) => isClosed)))
      t.same(
        sockets.map(({ error }) => error).filter((error) => error !== ''),
        [],
      )
      const { text } = await lab.admin('n1', '/connections')
      t.same(JSON.parse(text), [])
      const opened = gateway.events.slice(known).filter(({ type }) => type === 'opened')
      t.equal(opened.length, MANY)
      t.ok(new Set(opened.map(({ tunnel }) => tunnel)).size <= 2, 'as many tunnels as workers, at most')
      for (
        let end = known;
        gateway.events.slice(known).filter(({ type }) => type === 'ended').length < MANY;
        end++
      )
        await gateway.ended(end)
    },
  )
}

async function testRefusals(t: Test, lab: MeshLab): Promise<void> {
  for (const [what, mesh, reason, detail] of [
    [
      'a gateway that is another',
      { gatewayAccount: 'other' },
      'IDENTITY_MISMATCH',
      /^gateway 10\.1\.0\.3.*sa\/gateway/,
    ],
    [
      'somebody else behind the gateway',
      { serviceIdentity: identity('batch') },
      'IDENTITY_MISMATCH',
      /^behind gateway 10\.1\.0\.3: expected .*sa\/batch, found .*sa\/cart/,
    ],
    [
      'a policy behind the gateway',
      { denied: ['front'] },
      'POLICY_DENY',
      /^behind gateway 10\.1\.0\.3: .*401/,
    ],
    ['no gateway', { hasGateway: false }, 'NETWORK_GATEWAY', /no gateway/],
  ] as const) {
    await t.test(`${what} is refused by name`, ONE_TEST, async (t) => {
      await reconfigure(lab, mesh)
      const known = await count(lab, 'n2')
      const record = await refusedWith(lab, reason)
      t.match(record, { bytes_sent: 0, bytes_recv: 0, detail })
      if (reason !== 'POLICY_DENY') return
      const [theirs] = await lab.recordsAfter('n2', known, isInbound)
      t.match(theirs, { reason: 'POLICY_DENY', 'src.identity': identity('front'), policy: 'shop/no-front' })
    })
  }
}

async function testFaults(t: Test, lab: MeshLab, gateway: RunningGateway): Promise<void> {
  await t.test('a gateway that is gone is left for another one', ONE_TEST, async (t) => {
    await reconfigure(lab, { otherGateways: ['10.1.0.77', '10.1.0.2'] })
    const known = await count(lab, 'n1')
    for (let call = 0; call < 9; call++) {
      const socket = await ask(lab)
      t.match(socket.text, /200 OK/)
    }
    const records = await lab.recordsAfter('n1', known, isOutbound)
    t.ok(
      records.some(({ retries }) => Number(retries) > 0),
      'some were tried again',
    )
    t.same(new Set(records.map((record) => record['dst.addr'])), new Set([`${GATEWAY_IP}:15008`]))
    await reconfigure(lab, {})
  })

  await t.test('a gateway that dies ends its connections, and says so', ONE_TEST, async (t) => {
    const known = await count(lab, 'n1')
    const socket = lab.connect('front', CART_VIP, 91)
    await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    gateway.kill()
    await socket.until('the end', ({ isClosed }) => isClosed)
    const [record] = await lab.recordsAfter('n1', known, isOutbound)
    t.match(record, { reason: 'TUNNEL_RESET', 'dst.addr': `${GATEWAY_IP}:15008` })
    t.match(await refusedWith(lab, 'HBONE_PORT_REFUSED'), { detail: /^gateway 10\.1\.0\.3: / })
  })

  await t.test('what a gateway does wrong is its own fault', ONE_TEST, async (t) => {
    const targets = { [`${HOST}:80`]: 'garbage', [`${HOST}:91`]: '401' }
    const other = await startGateway(t, lab, { targets, secret: SECRET })
    t.match(await refusedWith(lab, 'TLS_HANDSHAKE'), { detail: /^behind gateway 10\.1\.0\.3: / })
    const known = await count(lab, 'n1')
    await lab.connect('front', CART_VIP, 91).until('refused', isOver)
    const [record] = await lab.recordsAfter('n1', known, isOutbound)
    t.match(record, { reason: 'POLICY_DENY', detail: /^gateway 10\.1\.0\.3: .*401/ })
    other.kill()
  })
}

t.setTimeout(280_000)
t.test('through the gateway of another network', { timeout: 250_000 }, async (t) => {
  const lab = await startGatewayLab(t)
  const targets = Object.fromEntries([80, 90, 91, 92].map((port) => [`${HOST}:${port}`, CART]))
  const gateway = await startGateway(t, lab, { targets, secret: SECRET })
  await testWay(t, lab, gateway)
  await testRefusals(t, lab)
  await reconfigure(lab, {})
  await testFaults(t, lab, gateway)
})
