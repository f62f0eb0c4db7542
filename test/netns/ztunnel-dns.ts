// SPDX-License-Identifier: Apache-2.0
// DNS of a pod through a real ztunnel: what is of the mesh is answered, all else is the resolver's, byte for byte. The
// resolver is the one the pod asks, in another namespace; what it saw and said is compared with what the pod sent and got.
import { execFile, execFileSync } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import dnsPacket from 'dns-packet'
import t from 'tap'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { MAX_UNANSWERED } from '../../ztunnel/dns/limits.ts'
import { TestClient, TestResolver } from '../support/dns-lab.ts'
import type { DnsTold } from '../support/dns-peer.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

t.setTimeout(120_000)
/** The stranger is not enrolled: it is the pods' resolver. */
const RESOLVER_IP = '10.1.0.3'
/** What every pod's host side has. */
const GATEWAY6 = 'fe80::1'
const MESH = labMesh([])
  .replace(
    'services:\n',
    `services:
- {name: db, namespace: shop, hostname: db.shop.svc.cluster.local, vips: [], ports: {80: 8080}}
- {name: api, namespace: shop, hostname: api.example.com, vips: ["/240.240.0.1", "/2001:2::1"], ports: {443: 443}, portNames: {https: 443}}
- {name: wild, namespace: shop, hostname: "*.wild.example", vips: ["/240.240.0.2"], ports: {443: 443}}
`,
  )
  .replaceAll('services: {}}\n', 'services: {"shop/db.shop.svc.cluster.local": {80: 8080}}}\n')

/** Longer than connections of a pod that leaves are still accepted, shorter than the lab’s ztunnels drain. */
const TAKES_NOTHING_MS = 500

let nextId = 1
type QueryOptions = { readonly edns?: boolean; readonly opcode?: number }
function query(name: string, type = 'A', { edns = false, opcode = 0 }: QueryOptions = {}): Buffer {
  const bytes = dnsPacket.encode({
    ...{ type: 'query', id: nextId++, flags: dnsPacket.RECURSION_DESIRED },
    questions: [{ type: type as 'A', name, class: 'IN' }], // as: any type is encoded
    additionals: edns
      ? [
          {
            ...{ type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0x8000, options: [], flag_do: true },
            ...{ extendedRcode: 0, ednsVersion: 0 },
          },
        ]
      : [],
  })
  bytes[2] = (bytes[2] ?? 0) | (opcode << 3)
  return bytes
}
/** Answer in words: `NOERROR AA A 10.96.0.10 …`. */
function words(answer: Buffer | undefined): string {
  if (answer === undefined) return 'nothing'
  const read = dnsPacket.decode(answer)
  const { rcode } = read as { rcode?: string } // as: the types forget it
  const records = (read.answers ?? []).map((record) => {
    const { data } = record as { data: unknown } // as: answers have it
    if (record.type !== 'SRV') return `${record.type} ${data}`
    const { port, target } = data as { port: number; target: string } // as: of SRV
    return `SRV ${port} ${target}`
  })
  return [rcode, read.flag_aa ? 'AA' : '', read.flag_tc ? 'TC' : '', ...records.toSorted()]
    .filter((word) => word !== '')
    .join(' ')
}

const lab = await MeshLab.start(labDirectory(t), MESH)
t.teardown(() => lab.close())
const resolver = await TestResolver.start(t, lab.namespaceOf('stranger'))
const client = await TestClient.start(t, lab.namespaceOf('front'))
const ask = async (protocol: 'udp' | 'tcp', message: Buffer, count = 1) =>
  await client.ask(protocol, RESOLVER_IP, [message], count)

for (const protocol of ['udp', 'tcp'] as const)
  t.test(`names of the mesh are answered by ${protocol}, and the resolver hears nothing`, async (t) => {
    for (const [name, type, expected] of [
      ['cart', 'A', 'NOERROR AA A 10.96.0.10'],
      ['cart.shop', 'A', 'NOERROR AA A 10.96.0.10'],
      ['cArT.Shop.svc.cluster.local', 'A', 'NOERROR AA A 10.96.0.10'],
      ['cart.shop.svc.cluster.local', 'AAAA', 'NOERROR AA'],
      ['db.shop.svc.cluster.local', 'A', 'NOERROR AA A 10.1.0.1 A 10.1.0.2'],
      ['api.example.com', 'A', 'NOERROR AA A 240.240.0.1'],
      ['api.example.com', 'AAAA', 'NOERROR AA AAAA 2001:2::1'],
      ['api.example.com.shop.svc.cluster.local', 'A', 'NOERROR AA A 240.240.0.1 CNAME api.example.com'],
      ['a.b.wild.example', 'A', 'NOERROR AA A 240.240.0.2'],
      ['_https._tcp.api.example.com', 'SRV', 'NOERROR AA SRV 443 api.example.com'],
    ] as const) {
      const message = query(name, type)
      const [answer] = await ask(protocol, message)
      t.equal(words(answer), expected, `${name} ${type}`)
      t.same(answer?.subarray(0, 2), message.subarray(0, 2))
      t.same(answer?.subarray(12, message.length), message.subarray(12), 'letters as they were asked')
    }
    t.same(resolver.take(), [])
  })

for (const protocol of ['udp', 'tcp'] as const)
  t.test(`everything else goes byte for byte to the resolver and back by ${protocol}`, async (t) => {
    const update = query('shop.example', 'SOA', { opcode: 5 })
    const questions: readonly (readonly [string, Buffer, number?])[] = [
      ['an unknown name', query('www.example.org')],
      ['mixed case', query('wWw.ExAmPlE.oRg')],
      ['SRV of a port that the mesh does not name', query('_http._tcp.cart.shop.svc.cluster.local', 'SRV')],
      ['MX of a name of the mesh', query('cart.shop.svc.cluster.local', 'MX')],
      ['EDNS with DO', query('www.example.org', 'A', { edns: true })],
      ['UPDATE', Buffer.concat([update, Buffer.from('c00c00010001000000000000', 'hex')])],
      ['NOTIFY', query('shop.example', 'SOA', { opcode: 4 })],
      ['more than 512 bytes', query('big3000.example', 'TXT', { edns: true })],
      ['30 KiB', query('big30000.example', 'TXT')],
      ['truncated by UDP', query('trunc.example', 'TXT')],
      ['no question at all', Buffer.from('abcd01000000000000000000', 'hex')],
      ['a name that is garbage', Buffer.concat([query('x').subarray(0, 12), Buffer.alloc(30, 0xee)])],
      ...(protocol === 'tcp'
        ? [['a zone in three messages', query('shop.example', 'AXFR'), 3] as const]
        : []),
    ]
    for (const [what, message, count] of questions) {
      const answers = await ask(protocol, message, count)
      const served = await poll('the resolver', () => (resolver.served.length > 0 ? resolver.take() : null))
      t.equal(served.length, 1, `${what}: asked once`)
      t.equal(served[0]?.protocol, protocol)
      t.same(served[0]?.received, [message.toString('hex')], `${what}: as it was asked`)
      t.same(
        answers.map((answer) => answer.toString('hex')),
        served[0]?.sent,
        `${what}: as it was answered`,
      )
      t.equal(answers.length, count ?? 1, what)
    }
  })

t.test('names of both kinds share a connection and a port', async (t) => {
  const messages = [
    query('cart'),
    query('www.example.org'),
    query('big9000.example', 'TXT'),
    query('db.shop'),
  ]
  for (const protocol of ['udp', 'tcp'] as const) {
    const answers = await client.ask(protocol, RESOLVER_IP, messages)
    const ids = (list: readonly Buffer[]) => list.map((bytes) => bytes.readUInt16BE(0)).toSorted()
    t.same(ids(answers), ids(messages), 'each is answered')
    t.equal(resolver.take().length, 2)
  }
})

t.test('a resolver that answers garbage, or nothing, is SERVFAIL in 5 s', async (t) => {
  const startedMs = performance.now()
  const names = ['garbage.example', 'silent.example']
  const answers = await Promise.all(
    (['udp', 'tcp'] as const).flatMap((protocol) =>
      names
        .filter((name) => protocol === 'udp' || name.startsWith('silent'))
        .map(async (name) => words((await ask(protocol, query(name)))[0])),
    ),
  )
  t.same(answers, ['SERVFAIL', 'SERVFAIL', 'SERVFAIL'])
  const tookMs = performance.now() - startedMs
  t.ok(tookMs > 4500 && tookMs < 8000, `${tookMs} ms`)
  t.equal(resolver.take().length, 3, 'nobody was asked twice')
})

t.test(
  'questions of one connection above its limit fail by name, those to the mesh are answered',
  async (t) => {
    const silent = Array.from({ length: MAX_UNANSWERED + 1 }, () => query('silent.example'))
    const answers = await client.ask('tcp', RESOLVER_IP, [...silent, query('cart')], 2)
    // Those that wait are answered too, in their time.
    t.same(answers.slice(0, 2).map(words).toSorted(), ['NOERROR AA A 10.96.0.10', 'SERVFAIL'])
    const { text } = await lab.admin('n1', '/metrics')
    t.match(text, /^istio_dns_requests_total\{.*request_protocol="tcp".*reason="LIMIT_CONNECTION".*\} 1$/m)
    await poll('the resolver has them', () => resolver.served.length >= MAX_UNANSWERED || null)
    t.equal(resolver.take().length, MAX_UNANSWERED)
  },
)

t.test('a question sent to the mesh itself has no resolver', async (t) => {
  t.equal(
    words((await client.ask('udp', '127.0.0.1', [query('cart')], 1, 15_053))[0]),
    'NOERROR AA A 10.96.0.10',
  )
  for (const protocol of ['udp', 'tcp'] as const) {
    const [answer] = await client.ask(protocol, '127.0.0.1', [query('www.example.org')], 1, 15_053)
    t.equal(words(answer), 'SERVFAIL')
  }
  t.same(resolver.take(), [])
})

t.test('a flood of garbage costs nobody else an answer', async (t) => {
  const garbage = Array.from({ length: 3000 }, (_, index) =>
    Buffer.from(Array.from({ length: index % 60 }, (_, at) => (index * 31 + at * 17) & 255)),
  )
  client.ask('udp', RESOLVER_IP, garbage, 0).catch(() => {}) // nobody answers what is no message
  const other = await TestClient.start(t, lab.namespaceOf('batch'))
  const [answer] = await other.ask('udp', RESOLVER_IP, [query('cart')])
  t.equal(words(answer), 'NOERROR AA A 10.96.0.10')
  t.equal(words((await ask('udp', query('cart')))[0]), 'NOERROR AA A 10.96.0.10')
  await poll('what is no message is counted', async () => {
    const { text } = await lab.admin('n1', '/metrics')
    return text.includes('reason="DNS_MALFORMED"') || null
  })
})

t.test('a change of the mesh is a change of the answers', async (t) => {
  for (const ip of ['10.96.0.11', '10.96.0.10']) {
    await lab.configure(MESH.replace('/10.96.0.10', `/${ip}`))
    // Many at once: every worker is asked.
    const answers = await poll('the new address', async () => {
      const all = await client.ask(
        'udp',
        RESOLVER_IP,
        Array.from({ length: 40 }, () => query('cart')),
      )
      return all.every((answer) => words(answer).includes(ip)) ? all : null
    })
    t.equal(answers.length, 40)
  }
})

t.test('a resolver of the field takes the answers of both', async (t) => {
  const script = `
    const { Resolver } = require('node:dns/promises')
    const resolver = new Resolver({ timeout: 8000, tries: 1 })
    resolver.setServers(['${RESOLVER_IP}'])
    Promise.all([
      resolver.resolve4('db.shop.svc.cluster.local', { ttl: true }),
      resolver.resolveTxt('big3000.example'),
      resolver.resolveTxt('trunc.example'),
    ]).then((found) => console.log(JSON.stringify(found)))`
  const start = () => promisify(execFile)(process.execPath, ['-e', script], { env: {} })
  const { stdout } = await lab.namespaceOf('front').run(start)
  const told = resolver.take()
  const [addresses, texts, short] = JSON.parse(stdout) as [{ ttl: number }[], string[][], string[][]] // as: what the script prints
  t.same(
    addresses.map(({ ttl }) => ttl),
    [30, 30],
  )
  t.equal(texts.length, 12)
  t.equal(short.length, 1)
  const asked = told.filter(({ received }) => received[0]?.includes(Buffer.from('trunc').toString('hex')))
  t.same(
    asked.map(({ protocol }) => protocol),
    ['udp', 'tcp'],
    'it was told that the answer was cut, and asked by TCP for the whole',
  )
})

t.test('a pod that takes itself for its resolver asks in no circle', async (t) => {
  const [own, other] = ['10.1.0.1', '10.1.0.2']
  // By UDP it is not even captured, and nobody is there who could answer.
  const [answer] = await client.ask('tcp', own, [query('www.example.org')])
  t.equal(words(answer), 'SERVFAIL')
  t.same(resolver.take(), [])
  // Two pods of the mesh, one of which is a resolver and asks on: its own questions come by the mesh as well.
  const local = await TestResolver.start(t, lab.namespaceOf('batch'))
  const batch = await TestClient.start(t, lab.namespaceOf('batch'))
  for (const [from, protocol] of [
    [client, 'udp'],
    [client, 'tcp'],
    [batch, 'udp'],
    [batch, 'tcp'],
  ] as const) {
    const bytes = query('www.example.org')
    const [answer] = await from.ask(protocol, other, [bytes])
    const served = await poll('it was asked', () => (local.served.length > 0 ? local.take() : null))
    t.same([answer?.toString('hex')], served[0]?.sent)
    t.equal(served.length, 1, 'once')
  }
  await local.stop()
})

t.test('over IPv6 as over IPv4', async (t) => {
  const network = lab.network
  const ips = { front: 'fd00:1::1', stranger: 'fd00:1::3' } as const
  const ip = (namespace: NetworkNamespace, args: string): void =>
    void namespace.run(() => execFileSync('ip', ['-6', ...args.split(' ')]))
  for (const [name, address] of Object.entries(ips)) {
    const { namespace, hostLink } = network.pod(name)
    ip(namespace, `address add ${address}/128 dev eth0 nodad`)
    ip(namespace, `route add default via ${GATEWAY6} dev eth0 onlink`)
    ip(network.node('n1').namespace, `route add ${address} dev ${hostLink}`)
  }
  for (const protocol of ['udp', 'tcp'] as const) {
    t.equal(words((await client.ask(protocol, ips.stranger, [query('cart')]))[0]), 'NOERROR AA A 10.96.0.10')
    const message = query('big3000.example', 'TXT')
    const [answer] = await client.ask(protocol, ips.stranger, [message])
    const isIt = ({ received }: DnsTold): boolean => received[0] === message.toString('hex')
    const served = await poll('the resolver', () => resolver.served.find(isIt) ?? null)
    t.same([answer?.toString('hex')], served.sent)
  }
})

t.test('questions wait while the data process is replaced', async (t) => {
  const [pid = 0] = lab.dataPids('n1')
  process.kill(pid, 'SIGKILL')
  await poll('it is gone', () => !lab.dataPids('n1').includes(pid) || null)
  const answers = await Promise.all([
    ask('udp', query('cart')),
    ask('tcp', query('cart')),
    ask('udp', query('www.example.org')),
  ])
  t.same(
    answers.map(([answer]) => words(answer).split(' ')[0]),
    ['NOERROR', 'NOERROR', 'NOERROR'],
  )
  await lab.ready('n1')
})

t.test('a pod that opts out asks its resolver itself, and keeps its connections', async (t) => {
  // Another pod than that of the other tests: flows that the kernel knows keep their way for a while.
  const socket = lab.connect('batch', '10.2.0.1', 9001)
  await socket.until('greeted', ({ text }) => text !== '')
  const batch = await TestClient.start(t, lab.namespaceOf('batch'))
  const isAnswered = async (protocol: 'udp' | 'tcp'): Promise<boolean> => {
    const [answer] = await batch.ask(protocol, RESOLVER_IP, [query('cart')])
    return words(answer) === 'NOERROR AA A 10.96.0.10'
  }
  await lab.enrol('n1', ['front'], batchOf(lab, 'false'))
  await poll('the resolver is asked', async () => ((await isAnswered('udp')) ? null : true))
  t.notOk(socket.isClosed)
  t.notOk(await isAnswered('tcp'))
  await lab.enrol('n1', ['front'], batchOf(lab, 'true'))
  await poll('the mesh is asked', async () => (await isAnswered('udp')) || null)
  t.notOk(socket.isClosed)
})

t.test('a resolver that is gone is SERVFAIL, and told', async (t) => {
  await resolver.stop()
  for (const protocol of ['udp', 'tcp'] as const)
    t.equal(words((await ask(protocol, query('www.example.org')))[0]), 'SERVFAIL')
  t.equal(words((await ask('udp', query('cart')))[0]), 'NOERROR AA A 10.96.0.10')
  t.match(lab.log('n1'), /"reason":"DNS_UPSTREAM"/)
  const { text } = await lab.admin('n1', '/metrics')
  const label = 'source_canonical_service="[^"]*",source_canonical_revision="[^"]*"'
  for (const end of [
    'result="answered",reason="OK"',
    'result="forwarded",reason="OK"',
    'result="failed",reason="DNS_UPSTREAM"',
  ])
    t.match(
      text,
      new RegExp(`istio_dns_requests_total\\{request_query_type="a",request_protocol="udp",${label},${end}`),
    )
})

// The kernel remembers where a port's questions went, and sends there what comes from it later. What is open keeps the rules.
for (const how of ['taken out of the mesh', 'left by its ztunnel'] as const)
  t.test(`a pod that is ${how} is answered on ports that have asked before`, async (t) => {
    const isByPod = how === 'taken out of the mesh'
    const name = isByPod ? 'batch' : 'front'
    const asking = isByPod ? await TestClient.start(t, lab.namespaceOf(name)) : client
    const port = 40_053
    const isAnswered = async (): Promise<boolean> =>
      words(await asking.askFrom(port, RESOLVER_IP, query('cart'))) === 'NOERROR AA A 10.96.0.10'
    t.ok(await isAnswered())
    const socket = lab.connect(name, '10.2.0.1', 9001)
    await socket.until('greeted', ({ text }) => text !== '')
    const stopped = isByPod ? lab.enrol('n1', ['front']) : lab.stop('n1')
    await pause(TAKES_NOTHING_MS)
    t.ok(await isAnswered())
    t.notOk(socket.isClosed, 'something holds it')
    socket.end()
    await stopped
  })

function batchOf(lab: MeshLab, dnsCapture: string): string {
  const { path } = lab.namespaceOf('batch')
  return `- {uid: u-batch, name: batch, namespace: shop, serviceAccount: batch, netns: ${path}, dnsCapture: ${dnsCapture}}\n`
}
