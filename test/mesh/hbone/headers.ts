// SPDX-License-Identifier: Apache-2.0
// The text a CONNECT carries: authority, baggage, forwarded, traceparent.
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { formatAuthority, isHostname, parseAuthority } from '../../../mesh/hbone/authority.ts'
import { formatBaggage, parseBaggage } from '../../../mesh/hbone/baggage.ts'
import { connectHeaders, refusalOfStatus } from '../../../mesh/hbone/connect-attempt.ts'
import { formatForwarded, parseForwarded } from '../../../mesh/hbone/forwarded.ts'
import { HBONE_LIMITS } from '../../../mesh/hbone/limits.ts'
import { createTraceparent, formatTraceparent, parseTraceparent } from '../../../mesh/hbone/traceparent.ts'

t.test('a CONNECT authority names exactly one host and one port', async (t) => {
  const accepted: Array<[authority: string, host: string, port: number, isIp: boolean]> = [
    ['10.0.0.7:8080', '10.0.0.7', 8080, true],
    ['[fd00::7]:443', 'fd00::7', 443, true],
    ['[FD00:0:0::7]:1', 'fd00::7', 1, true],
    ['[::ffff:10.0.0.7]:80', '10.0.0.7', 80, true],
    ['Reviews.Shop.svc:9080', 'reviews.shop.svc', 9080, false],
    ['a_b-c:65535', 'a_b-c', 65_535, false],
    [`${'a.'.repeat(126)}a:65535`, `${'a.'.repeat(126)}a`, 65_535, false],
  ]
  for (const [authority, host, port, isIp] of accepted) {
    t.same(parseAuthority(authority), { kind: 'target', host, port, isIp }, authority)
  }
  const refused = [
    ...[
      '',
      'db',
      '8080',
      'db:',
      ':80',
      'db:0',
      'db:65536',
      'db:080',
      'db:+80',
      'db: 80',
      'db:8e1',
      'a@db:1',
      '::1:80',
    ],
    ...[
      '[::1]',
      '[::1]:',
      '[::1:80',
      '::1]:80',
      '[10.0.0.1]:80',
      '[fe80::1%eth0]:80',
      '[]:80',
      '[db]:80',
      'fd00::7:80',
    ],
    ...[
      '1.2.3:80',
      '1.2.3.4.5:80',
      '256.1.1.1:80',
      '01.2.3.4:80',
      '2130706433:80',
      '10.0.0.1/8:80',
      'a..b:80',
      '.a:80',
    ],
    ...[
      'a.:80',
      'a b:80',
      'a/b:80',
      'ä:80',
      'a\0:80',
      'http://a:80',
      `${'a'.repeat(64)}:80`,
      `${'a.'.repeat(127)}aa:80`,
    ],
    'x'.repeat(100_000),
  ]
  for (const authority of refused) {
    t.match(parseAuthority(authority), { kind: 'refusal', code: 'CONNECT_AUTHORITY' }, authority.slice(0, 60))
  }
  t.equal(formatAuthority('10.0.0.7', 80), '10.0.0.7:80')
  t.equal(formatAuthority('fd00::7', 80), '[fd00::7]:80')
  t.equal(formatAuthority('db.shop', 80), 'db.shop:80')
  t.notOk(isHostname(''))
})

t.test('baggage has the order and spelling of ztunnel', async (t) => {
  const all = {
    zone: 'z',
    region: 'r',
    serviceVersion: 'v1',
    serviceName: 'reviews',
    workloadName: 'reviews-v1',
    workloadType: 'pod',
    namespace: 'shop',
    clusterName: 'Kubernetes',
  } as const
  const text =
    'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.pod.name=reviews-v1,service.name=reviews,' +
    'service.version=v1,cloud.region=r,cloud.availability_zone=z'
  t.equal(formatBaggage(all), text)
  t.same(parseBaggage(text), all)
  t.equal(formatBaggage({}), '')
  t.equal(formatBaggage({ namespace: '', zone: 'z' }), 'cloud.availability_zone=z')
  for (const bad of ['a,b', 'a;b', 'a\nb', ' a', 'ä', 'a\x7f'])
    t.equal(formatBaggage({ namespace: bad }), '', bad)
})

t.test('hostile baggage is skipped piece by piece', async (t) => {
  t.same(parseBaggage(' k8s.namespace.name = shop ;p=1 , =x, y=, ,service.name=a=b'), {
    namespace: 'shop',
    serviceName: 'a=b',
  })
  t.same(parseBaggage('k8s.namespace.name=first,k8s.namespace.name=second'), { namespace: 'first' })
  t.same(parseBaggage('k8s.job.name=a,k8s.pod.name=b'), { workloadType: 'job', workloadName: 'a' })
  t.same(parseBaggage('__proto__=x,constructor=y,k8s..name=z'), {})
  t.same(parseBaggage(`${'x=y,'.repeat(24)}service.name=late`), {}, 'members are bounded')
  t.same(parseBaggage(`service.name=${'a'.repeat(5_000)}`), {}, 'length is bounded')
  t.same(parseBaggage('service.name=\x01'), {})
})

t.test('forwarded tells the client and the host', async (t) => {
  t.equal(formatForwarded('10.0.0.1', 1234, null), 'for="10.0.0.1:1234"')
  t.equal(formatForwarded('fd00::1', 1, 'reviews.shop.svc'), 'for="[fd00::1]:1";host=reviews.shop.svc')
  t.equal(formatForwarded('10.0.0.1', 1, 'bad host'), 'for="10.0.0.1:1"')
  t.same(parseForwarded('for="[fd00::1]:1";host=Reviews.shop.svc'), {
    client: { ip: 'fd00::1', port: 1 },
    host: 'reviews.shop.svc',
  })
  t.same(parseForwarded('FOR=10.0.0.1:5, for=10.0.0.2:6'), {
    client: { ip: '10.0.0.1', port: 5 },
    host: null,
  })
  for (const bad of [
    '',
    'for',
    'for=',
    'for="_hidden"',
    'for=10.0.0.1',
    'host=a b',
    '"',
    `for="${'1'.repeat(600)}"`,
  ]) {
    t.same(parseForwarded(bad), { client: null, host: null }, bad.slice(0, 20))
  }
})

t.test('traceparent is random per connection and read strictly', async (t) => {
  const made = Array.from({ length: 300 }, createTraceparent)
  t.equal(new Set(made).size, 300)
  for (const text of made) t.match(text, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
  t.notSame(parseTraceparent(made[0] ?? ''), null)
  const [trace, span] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
  for (const [flags, isSampled] of [
    ['01', true],
    ['00', false],
    ['03', true],
    ['fe', false],
  ] as const)
    t.same(parseTraceparent(`00-${trace}-${span}-${flags}`), { traceId: trace, spanId: span, isSampled })
  for (const text of [`00-${trace}-${span}-01`, `00-${trace}-${span}-00`]) {
    const parsed = parseTraceparent(text)
    t.equal(parsed === null ? '' : formatTraceparent(parsed), text)
  }
  const bad = [
    ...['', `01-${trace}-${span}-01`, `00-${trace}-${span}-0`, `00-${trace.toUpperCase()}-${span}-01`],
    ...[
      `00-${'0'.repeat(32)}-${span}-01`,
      `00-${trace}-${'0'.repeat(16)}-01`,
      `00-${trace}-${span}-01-`,
      'x'.repeat(55),
    ],
  ]
  for (const text of bad) t.equal(parseTraceparent(text), null, text)
})

t.test('a CONNECT carries its headers in ztunnel’s order, without empty ones', async (t) => {
  t.same(
    connectHeaders({
      authority: 'a:1',
      traceparent: 't',
      forwarded: 'f',
      baggage: 'b',
      forwardedNetwork: 'n',
    }),
    [
      ...[':method', 'CONNECT', ':authority', 'a:1', 'baggage', 'b', 'forwarded', 'f', 'traceparent', 't'],
      ...['x-forwarded-network', 'n'],
    ],
  )
  t.same(connectHeaders({ authority: 'a:1', baggage: '' }), [':method', 'CONNECT', ':authority', 'a:1'])
  t.same(
    connectHeaders({ authority: 'a:1', forwardedNetwork: '' }).slice(4),
    ['x-forwarded-network', ''],
    'the default network is one too',
  )
})

t.test('a status other than 200 has a reason', async (t) => {
  const codes = {
    401: 'POLICY_DENY',
    503: 'ENDPOINT_REFUSED',
    431: 'H2_HEADERS_TOO_LARGE',
    400: 'TUNNEL_REFUSED',
    204: 'TUNNEL_REFUSED',
  }
  for (const [status, code] of Object.entries(codes)) t.equal(refusalOfStatus(status).code, code, status)
  t.match(refusalOfStatus('418').detail, '418')
  t.notOk(isRefusal(HBONE_LIMITS))
})
