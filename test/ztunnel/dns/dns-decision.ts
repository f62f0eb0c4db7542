// SPDX-License-Identifier: Apache-2.0
import dnsPacket from 'dns-packet'
import fc from 'fast-check'
import t from 'tap'
import { AddressIndex } from '../../../mesh/model/address-index.ts'
import { SERVICE_DEFAULTS, type Service } from '../../../mesh/model/service.ts'
import { WORKLOAD_DEFAULTS, type Workload } from '../../../mesh/model/workload.ts'
import { type DnsClient, decideDns } from '../../../ztunnel/dns/dns-decision.ts'
import { parseQuery, TYPE_A, TYPE_AAAA, TYPE_SRV, writeReply } from '../../../ztunnel/dns/dns-message.ts'
import { nameCandidates } from '../../../ztunnel/dns/dns-names.ts'

const CLIENT: DnsClient = { namespace: 'shop', network: '', clusterDomain: 'cluster.local' }

const service = (hostname: string, rest: Partial<Service> = {}): Service => ({
  ...SERVICE_DEFAULTS,
  name: hostname.split('.')[0] ?? '',
  namespace: hostname.split('.')[1] ?? '',
  hostname,
  vips: [{ network: '', ip: '10.96.0.1' }],
  ...rest,
})

const pod = (uid: string, host: string, ips: readonly string[], rest: Partial<Workload> = {}): Workload => ({
  ...WORKLOAD_DEFAULTS,
  uid,
  namespace: 'shop',
  workloadIps: ips,
  services: { [`shop/${host}`]: {} },
  ...rest,
})

const HEADLESS = 'db.shop.svc.cluster.local'
const INDEX = new AddressIndex(
  [
    pod('db-0', HEADLESS, ['10.1.0.1', '10.1.0.9', 'fd00::1']),
    pod('db-1', HEADLESS, ['10.1.0.2', 'fd00::2']),
    pod('db-2', HEADLESS, ['10.1.0.3'], { status: 'Unhealthy' }),
    pod('db-3', HEADLESS, ['10.1.0.4'], { network: 'elsewhere' }),
  ],
  [
    service('cart.shop.svc.cluster.local', {
      vips: [
        { network: '', ip: '10.96.0.1' },
        { network: '', ip: 'fd00:96::1' },
        { network: 'elsewhere', ip: '10.97.0.1' },
      ],
      portNames: { http: 80, 'tcp-x': 9000 },
    }),
    service('front.other.svc.cluster.local'),
    service('secret.other.svc.cluster.local', { visibility: 'Namespace' }),
    service(HEADLESS, { vips: [], portNames: { redis: 6379 } }),
    service('none.shop.svc.cluster.local', { vips: [] }),
    service('api.example.com', {
      ...{ namespace: 'shop', vips: [{ network: '', ip: '240.240.0.1' }], portNames: { https: 443 } },
    }),
    service('*.wild.example', {
      ...{ namespace: 'shop', vips: [{ network: '', ip: '240.240.0.2' }], portNames: { http: 80 } },
    }),
    service('unresolved.example', { namespace: 'shop', vips: [] }),
    service('v4only.shop.svc.cluster.local', { ipFamilies: 'IPv4' }),
  ],
)

/** `forward`, or the answer in words: `A 10.96.0.1`, `CNAME api.example.com`. */
function ask(name: string, type = TYPE_A, client = CLIENT): readonly string[] | string {
  const decision = decideDns(name, type, client, INDEX, () => 0.999)
  if (decision.kind === 'forward') return 'forward'
  return decision.records.map((record) => {
    const owner = record.name === null ? '' : `${record.name} `
    if (record.kind === 'CNAME') return `${owner}CNAME ${record.target}`
    if (record.kind === 'SRV') return `${owner}SRV ${record.port} ${record.target}`
    return `${owner}${record.kind} ${record.kind === 'A' ? [...record.bytes].join('.') : Buffer.from(record.bytes).toString('hex')}`
  })
}

t.test('a named port of a service that has addresses is an SRV record', async (t) => {
  const answer = [
    ...['SRV 80 cart.shop.svc.cluster.local', 'cart.shop.svc.cluster.local A 10.96.0.1'],
    'cart.shop.svc.cluster.local AAAA fd000096000000000000000000000001',
  ]
  for (const name of ['cart', 'cart.shop', 'cart.shop.svc', 'cart.shop.svc.cluster.local'])
    t.same(ask(`_http._tcp.${name}`, TYPE_SRV), answer, name)
  t.same(ask('_tcp-x._tcp.cart', TYPE_SRV)[0], 'SRV 9000 cart.shop.svc.cluster.local')
  t.same(ask('_https._tcp.api.example.com', TYPE_SRV), [
    ...['SRV 443 api.example.com', 'api.example.com A 240.240.0.1'],
  ])
  t.same(ask('_https._tcp.api.example.com.shop.svc.cluster.local', TYPE_SRV), [
    ...['CNAME _https._tcp.api.example.com', '_https._tcp.api.example.com SRV 443 api.example.com'],
    'api.example.com A 240.240.0.1',
  ])
})

t.test('other SRV questions are the resolver’s', async (t) => {
  for (const name of [
    ...[
      '_grpc._tcp.cart',
      '_http._udp.cart',
      'cart',
      '_http.cart',
      '_http._tcp',
      '_tcp.cart',
      '_http._tcp.nobody',
    ],
    ...['_redis._tcp.db', '_http._tcp.a.wild.example', '_http._tcp.secret.other', '_constructor._tcp.cart'],
  ])
    t.equal(ask(name, TYPE_SRV), 'forward', name)
})

t.test('a service is found under every name a pod may use', async (t) => {
  for (const name of ['cart', 'cart.shop', 'cart.shop.svc', 'cart.shop.svc.cluster.local'])
    t.same(ask(name), ['A 10.96.0.1'], name)
  t.same(ask('front'), 'forward', 'a short name is one of the own namespace')
  t.same(ask('front.other'), ['A 10.96.0.1'])
  t.same(ask('cart.shop', TYPE_A, { ...CLIENT, namespace: 'other' }), ['A 10.96.0.1'])
})

t.test('addresses are of the family that was asked for and of the client’s network', async (t) => {
  t.same(ask('cart', TYPE_AAAA), ['AAAA fd000096000000000000000000000001'])
  t.same(ask('cart', TYPE_A, { ...CLIENT, network: 'elsewhere' }), ['A 10.97.0.1'])
  t.same(ask('front.other', TYPE_AAAA), [], 'a name without such an address exists all the same')
  t.same(ask('v4only', TYPE_AAAA), [])
})

t.test('a headless service is its healthy pods of the network, one address each', async (t) => {
  t.same(ask('db'), ['A 10.1.0.1', 'A 10.1.0.2'])
  t.same(ask('db', TYPE_AAAA).length, 2)
  t.same(ask('none'), [], 'without pods it has no address')
  t.same(ask('db-0.db'), 'forward', 'a pod’s own name is the cluster’s to answer')
})

t.test('a name with a search domain behind it is said to be the name without', async (t) => {
  for (const domain of ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local'])
    t.same(
      ask(`api.example.com.${domain}`),
      ['CNAME api.example.com', 'api.example.com A 240.240.0.1'],
      domain,
    )
  t.same(ask('api.example.com.other.svc.cluster.local'), 'forward', 'of another namespace')
  t.same(ask('api.example.com.shop.svc.cluster.local', TYPE_AAAA), [], 'nothing to point to')
})

t.test('a wildcard answers for what is below it, in the name that was asked for', async (t) => {
  t.same(ask('a.wild.example'), ['A 240.240.0.2'])
  t.same(ask('a.b.wild.example'), ['A 240.240.0.2'])
  t.same(ask('wild.example'), 'forward')
  t.same(ask('a.wild.example.shop.svc.cluster.local'), ['A 240.240.0.2'], 'no alias')
})

t.test('what is not ours is forwarded', async (t) => {
  for (const name of [
    'example.com',
    'kubernetes.default.svc.cluster.local',
    'unresolved.example',
    'secret.other',
  ])
    t.same(ask(name), 'forward', name)
  t.same(ask(`${'a.'.repeat(40)}com`), 'forward', 'a name of forty labels costs nothing')
})

t.test('answers are shuffled: no address is always first', async (t) => {
  const firsts = new Set<string>()
  for (let index = 0; index < 100; index++) {
    const decision = decideDns('db', TYPE_A, CLIENT, INDEX, Math.random)
    if (decision.kind !== 'answer') throw new Error('not answered')
    const [first] = decision.records
    firsts.add(first?.kind === 'A' ? [...first.bytes].join('.') : '')
  }
  t.same([...firsts].toSorted(), ['10.1.0.1', '10.1.0.2'])
})

t.test('candidates stand in the order of the field', async (t) => {
  const names = (name: string) => nameCandidates(name, CLIENT).map((each) => each.name)
  t.same(names('cart'), ['cart', 'cart.shop.svc.cluster.local'])
  t.same(names('cart.shop'), ['cart.shop', 'cart.shop.svc.cluster.local', 'cart.shop.shop.svc.cluster.local'])
  t.same(names('cart.shop.svc'), [
    'cart.shop.svc',
    'cart.shop.svc.cluster.local',
    'cart.shop.svc.svc.cluster.local',
  ])
  t.same(nameCandidates('a.b.c', CLIENT)[0]?.hosts, ['a.b.c', '*.b.c', '*.c'])
})

t.test('bytes that are answered get the answer of their own name, and of no other', async (t) => {
  const hosts = [
    '_http._tcp.cart.shop',
    'cart.shop.svc.cluster.local',
    'db.shop',
    'api.example.com',
    'a.wild.example',
    'cart',
  ]
  const valid = hosts.map((name) =>
    dnsPacket.encode({
      type: 'query',
      id: 7,
      questions: [{ type: name.startsWith('_') ? 'SRV' : 'A', name, class: 'IN' }],
    }),
  )
  const changes = fc.array(fc.tuple(fc.nat({ max: 60 }), fc.nat({ max: 255 })), { maxLength: 4 })
  let answered = 0
  fc.assert(
    fc.property(fc.constantFrom(...valid), changes, (message, all) => {
      const request = Buffer.from(message)
      for (const [at, value] of all) if (at < request.length) request[at] = value
      const query = parseQuery(request, 0, request.length)
      const decision = query === null ? null : decideDns(query.name, query.type, CLIENT, INDEX, () => 0.999)
      if (query === null || decision?.kind !== 'answer') return
      answered++
      const out = Buffer.alloc(66_000)
      const { records } = decision
      const end = writeReply({ query, request, start: 0, records, isUdp: true, ttlSeconds: 30 }, out, 0)
      const [asked, told] = [request, out.subarray(0, end)].map((bytes) => dnsPacket.decode(bytes))
      t.same(told?.questions, asked?.questions)
      t.equal(told?.id, asked?.id)
      // By another reader: what it was asked for is what it is an answer of.
      const name = asked?.questions?.[0]?.name.toLowerCase() ?? ''
      const own = decideDns(name, query.type, CLIENT, INDEX, () => 0.999)
      t.same(own.kind === 'answer' && own.service, decision.service)
    }),
    { numRuns: 2000 },
  )
  t.ok(answered > 200, 'not all of them were garbage')
})
