// SPDX-License-Identifier: Apache-2.0
// The mesh over IPv6, by real ztunnels: cart and batch have no IPv4 address at all, front and the stranger have both. What
// is asked of it is what IPv4 gives: rules, tunnels, client addresses, policies, DNS, probes, the guard, and nothing left.
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import dnsPacket from 'dns-packet'
import t from 'tap'
import { blames } from '../support/ask-why.ts'
import { TestClient, TestResolver } from '../support/dns-lab.ts'
import { FakeApiserver } from '../support/fake-apiserver.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, type LabRecord, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { PacketCapture, tcpFlows, tlsRecordTypes } from '../support/packet-capture.ts'
import { enterCgroup } from '../support/pod-cgroup.ts'
import { serveTls } from '../support/tls-apiserver.ts'

const IPS6 = { front: 'fd00:1::1', batch: 'fd00:1::2', stranger: 'fd00:1::3', cart: 'fd00:2::1' } as const
const VIP = 'fd00:96::10'
const PROBE = 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff'
const [HTTP, GREETER, FAREWELL, HBONE] = [8080, 9001, 9004, 15_008]
const GREETING = '220 cart\r\n'
const REQUEST = 'GET / HTTP/1.0\r\n\r\n'
const STRICT = 'converted_peer_authentication_cart'
const UID = `dddddddd-0000-4000-8000-${String(process.pid).padStart(12, '0')}`
const MENDED_MS = 15_000
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`
/** cart is strict but for two ports, and one of those refuses a block that batch and the stranger are in, front is not. */
const MESH = labMesh([])
  .replace('workloadIps: ["10.1.0.1"]', `workloadIps: ["10.1.0.1", "${IPS6.front}"]`)
  .replace('workloadIps: ["10.1.0.2"]', `workloadIps: ["${IPS6.batch}"]`)
  .replace('workloadIps: ["10.2.0.1"]', `workloadIps: ["${IPS6.cart}"]`)
  .replace('vips: ["/10.96.0.10"]', `vips: ["/${VIP}"]`)
  .replace('uid: cart,', `uid: cart, authorizationPolicies: [shop/${STRICT}],`)
  .replace(
    'policies:\n',
    `policies:
- {name: ${STRICT}, namespace: shop, scope: WorkloadSelector, action: Deny, dryRun: false, rules: [[[{notPrincipals: [!Presence []]}], [{notDestinationPorts: [${HTTP}, ${FAREWELL}]}]]]}
- {name: no-block, namespace: shop, scope: Namespace, action: Deny, dryRun: false, rules: [[[{sourceIps: ["fd00:1::2/127"]}], [{destinationPorts: [${FAREWELL}]}]]]}
`,
  )

t.setTimeout(120_000)
const apiserver = new FakeApiserver()
await apiserver.listen()
t.teardown(() => apiserver.close())
apiserver.fault = ({ path, response }) => {
  if (!/\/status$|\/events$/.test(path)) return undefined
  response.end('{}')
  return 'handled'
}
apiserver.put({
  ...{ apiVersion: 'v1', kind: 'Namespace' },
  metadata: { name: 'shop', labels: { 'sidestep.dev/mode': 'ambient' } },
})
const directory = labDirectory(t)
const prepare = async (lab: MeshLab) => {
  lab.serving = ['cart', 'batch', 'stranger']
  for (const pod of ['cart', 'batch'] as const) run(lab, pod, 'ip -4 address flush dev eth0')
  const files = join(directory, 'account')
  mkdirSync(files)
  const { options, close } = await serveTls(apiserver, lab.network.node('n2').namespace, files)
  t.teardown(close)
  return { n1: {}, n2: options }
}
const lab = await MeshLab.start(directory, MESH, {}, prepare, {}, IPS6)
t.teardown(() => lab.close())
t.teardown(enterCgroup(lab.pidOf('cart'), `kubepods/burstable/pod${UID}/c1`))
const pod = {
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name: 'cart', namespace: 'shop', uid: UID, labels: {} },
  spec: { nodeName: 'n2', serviceAccountName: 'cart' },
  status: { phase: 'Running', podIP: IPS6.cart, podIPs: [{ ip: IPS6.cart }] },
}
apiserver.put(pod)

function run({ network }: MeshLab, where: LabPod | 'n1' | 'n2', command: string): string {
  const { namespace } = where === 'n1' || where === 'n2' ? network.node(where) : network.pod(where)
  const { stdout } = namespace.run(() => spawnSync('sh', ['-c', command], { encoding: 'utf8' }))
  return stdout
}
const routing = (where: LabPod): string => run(lab, where, 'ip -6 rule; ip -6 route show table 100')
const hasGuard = (): boolean => run(lab, 'n2', 'nft list ruleset').includes(`ip6 daddr ${IPS6.cart} counter`)
const isRedirected = (): boolean => run(lab, 'cart', 'nft list tables').includes('sidestep-nat')

/** How a connection from this pod ends: the error, or what it was sent. */
async function call(from: LabPod, ip: string, port: number, text = ''): Promise<string> {
  const socket = lab.connect(from, ip, port)
  if (text !== '') socket.write(text)
  const isDone = ({ isClosed, hasEnded, text }: LabSocket): boolean =>
    isClosed || hasEnded || text.endsWith('\n')
  await socket.until('an end', isDone)
  socket.destroy()
  return socket.text || socket.error
}
/** Calls, and gives the record of one side. */
async function told(
  node: 'n1' | 'n2',
  direction: 'inbound' | 'outbound',
  action: () => Promise<unknown>,
): Promise<LabRecord | undefined> {
  const known = (await lab.records(node)).length
  await action()
  const records = await lab.recordsAfter(node, known, (record) => record.direction === direction)
  return records[0]
}

// Before the first connection: a tunnel is told by its beginning.
const capture = PacketCapture.open(lab.network.node('n1').namespace, 'n2')
await poll('the guard stands', () => hasGuard() || null)
await poll('cart is served', async () => (await call('front', IPS6.cart, GREETER)) === GREETING || null)

t.test('rules of IPv6 stand in a pod that has nothing else', (t) => {
  for (const name of ['front', 'batch', 'cart'] as const) {
    const rules = run(lab, name, 'nft list ruleset')
    for (const expected of [
      /ip6 daddr != ::1 .*tcp dport != 15008 .*redirect to :15006/,
      /ip6 daddr != ::1 .*redirect to :15001/,
      new RegExp(`ip6 saddr ${PROBE} .*accept`),
      /ip6 daddr != ::1 tcp dport 53 .*redirect to :15053/,
    ])
      t.match(rules, expected, name)
    t.match(routing(name), /32764:\s+from all fwmark 0x111\/0xfff lookup 100/)
    t.match(routing(name), /local default dev lo/)
  }
  t.equal(run(lab, 'cart', 'ip -4 address show dev eth0'), '')
  t.end()
})

t.test('pods of two nodes are connected by TLS alone, and the application sees its client', async (t) => {
  for (const [what, ip, port] of [
    ['service', VIP, 80],
    ['pod', IPS6.cart, HTTP],
  ] as const) {
    const inbound = await told('n2', 'inbound', async () => {
      const outbound = await told('n1', 'outbound', async () => {
        t.match(
          await call('front', ip, port, REQUEST),
          new RegExp(`200 OK.*client ${IPS6.front}$`, 's'),
          what,
        )
      })
      t.match(outbound, {
        ...{
          reason: 'OK',
          transport: 'HBONE',
          'src.identity': identity('front'),
          'dst.identity': identity('cart'),
        },
        'dst.hbone_addr': `[${IPS6.cart}]:${HTTP}`,
      })
      t.match(outbound?.['src.addr'], `[${IPS6.front}]:`)
      t.equal(outbound?.['dst.addr'], `[${IPS6.cart}]:${HBONE}`)
    })
    t.match(inbound, {
      ...{
        reason: 'OK',
        transport: 'HBONE',
        'src.identity': identity('front'),
        'dst.identity': identity('cart'),
      },
      'dst.hbone_addr': `[${IPS6.cart}]:${HTTP}`,
    })
    t.match(inbound?.['src.addr'], `[${IPS6.front}]:`)
  }
  t.equal(capture.close(), 0)
  const flows = tcpFlows(capture.packets)
  t.ok(flows.length > 0)
  for (const { name, sourcePort, destinationPort, bytes } of flows) {
    t.ok(sourcePort === HBONE || destinationPort === HBONE, name)
    t.ok(tlsRecordTypes(bytes), name)
  }
})

t.test('so are pods of one node', async (t) => {
  const record = await told('n1', 'inbound', async () => {
    t.match(await call('front', IPS6.batch, HTTP, REQUEST), new RegExp(`client ${IPS6.front}$`))
  })
  t.match(record, { reason: 'OK', transport: 'HBONE', 'src.identity': identity('front') })
  t.match(record, { 'dst.identity': identity('batch'), 'dst.hbone_addr': `[${IPS6.batch}]:${HTTP}` })
})

t.test('who is not in the mesh is called plainly, and calls plainly', async (t) => {
  const outbound = await told('n1', 'outbound', async () => {
    t.match(await call('batch', IPS6.stranger, HTTP, REQUEST), new RegExp(`client ${IPS6.batch}$`))
  })
  t.match(outbound, { reason: 'OK', transport: 'TCP', 'dst.addr': `[${IPS6.stranger}]:${HTTP}` })
  const inbound = await told('n2', 'inbound', async () => {
    t.match(await call('stranger', IPS6.cart, HTTP, REQUEST), new RegExp(`client ${IPS6.stranger}$`))
  })
  t.match(inbound, { reason: 'OK', transport: 'TCP', 'dst.addr': `[${IPS6.cart}]:${HTTP}` })
  t.match(inbound?.['src.addr'], `[${IPS6.stranger}]:`)
})

t.test('what failed plainly is found again by who asks for the pair', async (t) => {
  const record = await told('n1', 'outbound', () => call('batch', IPS6.stranger, 9999))
  t.match(record, { reason: 'ENDPOINT_REFUSED', 'dst.addr': `[${IPS6.stranger}]:9999` })
  const target = `[${IPS6.stranger}]:9999`
  const verdict = await blames(
    ...([t, lab, ['shop/batch', target], { code: 'ENDPOINT_REFUSED' }, 'application', /listen/] as const),
  )
  t.equal(verdict.destination, target)
})

t.test('a block of addresses is refused, by a tunnel and without', async (t) => {
  await told('n2', 'inbound', async () => t.equal(await call('front', IPS6.cart, FAREWELL), 'bye\r\n'))
  for (const [from, transport] of [
    ['batch', 'HBONE'],
    ['stranger', 'TCP'],
  ] as const) {
    const record = await told('n2', 'inbound', async () => {
      t.equal(await call(from, IPS6.cart, FAREWELL), 'ECONNRESET')
    })
    t.match(record, { reason: 'POLICY_DENY', policy: 'shop/no-block', transport })
    t.match(record?.['src.addr'], `[${IPS6[from]}]:`)
  }
  const { text } = await lab.admin('n1', `/explain?pod=shop/batch&ip=${IPS6.cart}&port=${FAREWELL}`)
  t.match(JSON.parse(text), { inbound: { code: 'POLICY_DENY', policy: 'shop/no-block' } })
})

t.test('a pod without IPv4 has its names, and its resolver', async (t) => {
  const resolver = await TestResolver.start(t, lab.namespaceOf('stranger'))
  const client = await TestClient.start(t, lab.namespaceOf('batch'))
  const question = (type: 'A' | 'AAAA', name: string): Buffer =>
    dnsPacket.encode({ type: 'query', id: 7, questions: [{ type, name, class: 'IN' }] })
  const host = 'cart.shop.svc.cluster.local'
  for (const protocol of ['udp', 'tcp'] as const) {
    for (const [type, expected] of [
      ['AAAA', [{ type: 'AAAA', name: host, data: VIP }]],
      ['A', []],
    ] as const) {
      const [answer = Buffer.alloc(0)] = await client.ask(protocol, IPS6.stranger, [question(type, host)])
      t.match(dnsPacket.decode(answer).answers, expected)
    }
    t.same(resolver.take(), [], 'nobody was asked')
    const message = question('AAAA', 'www.example.org')
    const [answer] = await client.ask(protocol, IPS6.stranger, [message])
    const [served] = await poll('the resolver', () => (resolver.served.length > 0 ? resolver.take() : null))
    t.match(served, { protocol, received: [message.toString('hex')], sent: [answer?.toString('hex')] })
  }
})

t.test('a pod opts out of DNS by its annotation, and in again, while it runs', async (t) => {
  const isCaptured = (): boolean => run(lab, 'cart', 'nft list ruleset').includes('redirect to :15053')
  const client = await TestClient.start(t, lab.namespaceOf('cart'))
  const resolver = await TestResolver.start(t, lab.namespaceOf('stranger'))
  const name = 'cart.shop.svc.cluster.local'
  const asked = async (): Promise<number> => {
    const message = dnsPacket.encode({
      type: 'query',
      id: 9,
      questions: [{ type: 'AAAA', name, class: 'IN' }],
    })
    await client.ask('udp', IPS6.stranger, [message])
    return resolver.take().length
  }
  t.equal(await asked(), 0, 'the mesh answers')
  const annotations = { 'ambient.istio.io/dns-capture': 'false' }
  apiserver.put({ ...pod, metadata: { ...pod.metadata, annotations } })
  await poll('no question is captured', () => !isCaptured() || null)
  await poll('its resolver answers', async () => (await asked()) || null)
  t.equal(await call('front', IPS6.cart, FAREWELL), 'bye\r\n', 'all else is as it was')
  apiserver.put(pod)
  await poll('they are again', () => isCaptured() || null)
  await poll('the mesh answers', async () => (await asked()) === 0 || null)
})

t.test('the kubelet’s probes pass, by an address of their own', (t) => {
  t.match(run(lab, 'n2', `curl -gsS -m 3 'http://[${IPS6.cart}]:${HTTP}/' 2>&1`), `client ${PROBE}`)
  t.match(
    run(lab, 'n2', `curl -gsS -m 2 'telnet://[${IPS6.cart}]:${GREETER}' < /dev/null`),
    '220 cart',
    'a closed port',
  )
  t.end()
})

t.test('a strict pod stays strict while its rules are flushed', async (t) => {
  const tunnelled = lab.connect('front', IPS6.cart, GREETER)
  await tunnelled.until('a greeting', ({ text }) => text === GREETING)
  const record = await told('n2', 'inbound', async () => {
    t.equal(await call('stranger', IPS6.cart, GREETER), 'ECONNREFUSED')
  })
  t.match(record, {
    reason: 'PLAINTEXT_REFUSED',
    policy: `shop/${STRICT}`,
    'dst.addr': `[${IPS6.cart}]:${GREETER}`,
  })
  let flushedCount = 0
  for (let callCount = 0; callCount < 20; callCount++) {
    run(lab, 'cart', 'nft flush ruleset')
    t.equal(await call('stranger', IPS6.cart, GREETER), 'ECONNREFUSED')
    if (!isRedirected()) flushedCount++
  }
  t.ok(flushedCount > 0, `${flushedCount} while they were flushed`)
  await poll('mended', () => isRedirected() || null, MENDED_MS)
  run(lab, 'cart', 'ip -6 rule delete fwmark 0x111/0xfff table 100; ip -6 route flush table 100')
  await poll(
    'routing is mended',
    () => /lookup 100[\s\S]*local default/.test(routing('cart')) || null,
    MENDED_MS,
  )
  tunnelled.write('still here\n')
  await tunnelled.until('the echo', ({ text }) => text.endsWith('still here\n'))
  tunnelled.destroy()
  t.match(await call('stranger', IPS6.cart, HTTP, REQUEST), new RegExp(`client ${IPS6.stranger}$`))
})

t.test('who leaves the mesh has no rule left, and the node none about it', async (t) => {
  apiserver.put({ ...pod, metadata: { ...pod.metadata, labels: { 'sidestep.dev/mode': 'none' } } })
  await lab.enrol('n1', ['front'])
  for (const name of ['cart', 'batch'] as const) {
    await poll('no table is left', () => run(lab, name, 'nft list ruleset') === '' || null)
    await poll(
      'no routing is left',
      () => !/lookup 100|local/.test(routing(name).replace('lookup local', '')) || null,
    )
  }
  await poll('nor on the node', () => !/fd00|sidestep/.test(run(lab, 'n2', 'nft list ruleset')) || null)
  t.match(await call('stranger', IPS6.cart, HTTP, REQUEST), new RegExp(`client ${IPS6.stranger}$`))
  t.match(routing('front'), /lookup 100/)
})
