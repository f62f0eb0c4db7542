// SPDX-License-Identifier: Apache-2.0
// Faults on paper, one at a time, through the same functions as on nodes that run: what is blamed, where, and what for.
import t from 'tap'
import { askPair } from '../../../cli/why/ask-pair.ts'
import { explainPair } from '../../../cli/why/explain-pair.ts'
import type { PairFacts, PairVerdict } from '../../../cli/why/pair-facts.ts'
import type { NodeView } from '../../../ztunnel/decide/node-view.ts'
import { NO_ACTIVITY, type PodActivity, podListeners } from '../../../ztunnel/decide/pod-listeners.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { workload } from '../../support/mesh.ts'
import {
  dumpedIdentity,
  NOW_MS,
  nodeView,
  paperFleet,
  recordLine,
  shopCertificates,
  shopMesh,
} from '../../support/node-views.ts'

const authority = await TestAuthority.create(NOW_MS)
const other = await TestAuthority.create(NOW_MS, 'another root')
const certificates = await shopCertificates(authority)
const FRONT = 'spiffe://cluster.local/ns/shop/sa/front-sa'
const CART = 'spiffe://cluster.local/ns/shop/sa/cart-sa'
const STRICT =
  '- {name: istio_converted_static_strict, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{notPrincipals: [!Presence []]}]]]}'
const NO_BATCH =
  '- {name: no-batch, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/batch-sa]}]]]}'

/** What differs from a shop that is well. */
interface Case {
  readonly pair?: readonly [source: string, destination: string, port: number]
  readonly mesh?: Parameters<typeof shopMesh>[0]
  readonly n1?: Partial<NodeView>
  readonly n2?: Partial<NodeView>
}

function facts({ pair = ['front', 'cart', 80], mesh = {}, n1 = {}, n2 = {} }: Case): Promise<PairFacts> {
  const certificateOf = (identity: string) => certificates.get(identity)
  const [source, destination, port] = pair
  return askPair(
    paperFleet(
      // A caller's node is not sent the policies of others.
      nodeView('n1', shopMesh({ ...mesh, policies: '' }), { certificateOf, ...n1 }),
      nodeView('n2', shopMesh(mesh), { certificateOf, ...n2 }),
    ),
    { source, destination, port },
  )
}

const verdict = async (each: Case): Promise<PairVerdict> => explainPair(await facts(each))
const failed = (fields: Readonly<Record<string, string | number>>, agoMs = 10_000): string =>
  recordLine({
    time: new Date(NOW_MS - agoMs).toISOString(),
    direction: 'outbound',
    'src.addr': '10.1.0.1:40000',
    'dst.addr': '10.2.0.1:15008',
    'dst.hbone_addr': '10.2.0.1:8080',
    ...fields,
  })
const withCertificate = async (
  identity: string,
  ...how: Parameters<typeof dumpedIdentity> extends [infer A, string, (infer O)?] ? [A, O?] : never
) => {
  const own = await dumpedIdentity(how[0], identity, how[1] ?? {})
  return { certificateOf: (each: string) => (each === identity ? own : certificates.get(each)) }
}

t.test('nothing is blamed on pairs that are well', async (t) => {
  const pairs = [
    ['front', 'cart', 80],
    ['shop/front', 'shop/cart', 80],
    ['10.1.0.1', '10.2.0.1', 8080],
    ['batch', 'cart.shop.svc.cluster.local', 0],
  ] as const
  for (const pair of pairs) {
    const { outcome, code, cause, risks, silent } = await verdict({ pair })
    t.strictSame(
      { outcome, code, cause, risks, silent },
      { outcome: 'allowed', code: 'OK', cause: null, risks: [], silent: [] },
    )
  }
  const past = [failed({ reason: 'HBONE_PORT_BLOCKED' }), failed({ reason: 'OK', connect_ms: 1 }, 5000)]
  t.equal((await verdict({ n1: { records: past } })).cause, null, 'it has succeeded since')
  const old = [failed({ reason: 'HBONE_PORT_BLOCKED' }, 3_600_000)]
  t.equal((await verdict({ n1: { records: old } })).cause, null, 'an hour ago says nothing about now')
  const changed = [failed({ reason: 'POLICY_DENY' })]
  t.equal((await verdict({ n1: { records: changed } })).cause, null, 'the policies of now were asked')
})

t.test('what is not of the mesh goes in plain text, and nobody is blamed', async (t) => {
  for (const pair of [
    ['front', 'example.com', 443],
    ['front', '192.0.2.1', 443],
    ['front', 'legacy', 8080],
    ['10.9.9.9', '10.2.0.1', 8080],
    ['legacy', 'cart', 80],
  ] as const) {
    const { outcome, cause, risks } = await verdict({ pair })
    t.strictSame({ outcome, cause, risks }, { outcome: 'plain', cause: null, risks: [] }, pair.join(' '))
  }
})

t.test('a pod that listens where it is called is not blamed, whatever its address', async (t) => {
  for (const ip of ['0.0.0.0', '::', '10.2.0.1']) {
    const { outcome, cause, risks } = await verdict({ n2: { activityOf: () => listening(ip, 8080) } })
    t.strictSame({ outcome, cause, risks }, { outcome: 'allowed', cause: null, risks: [] }, ip)
  }
})

t.test('a resolver that does not answer is blamed for names outside the mesh, for a while', async (t) => {
  const failure = { timeMs: NOW_MS - 5000, code: 'DNS_UPSTREAM', detail: '10.0.0.2: no answer' } as const
  const told = (agoMs: number) => ({
    dnsFailures: { 'u-front': { ...failure, timeMs: NOW_MS - agoMs } },
  })
  const pair = ['front', 'example.com', 443] as const
  t.match(await verdict({ pair, n1: told(5000) }), {
    ...{ outcome: 'failing', code: 'DNS_UPSTREAM' },
    cause: {
      hop: 'name',
      where: 'example.com',
      fix: /resolv\.conf/,
      detail: /5 s ago: 10\.0\.0\.2: no answer/,
    },
  })
  t.match(await verdict({ pair, n1: told(400_000) }), { outcome: 'plain', cause: null })
  t.match(await verdict({ pair: ['batch', 'example.com', 443], n1: told(5000) }), { cause: null })
  t.match(await verdict({ n1: told(5000) }), { outcome: 'allowed', cause: null, risks: { length: 0 } })
})

const expired = { notBeforeMs: NOW_MS - 7_200_000, notAfterMs: NOW_MS - 3_600_000 }
const future = { notBeforeMs: NOW_MS + 3_600_000, notAfterMs: NOW_MS + 7_200_000 }
const fresh = { notBeforeMs: NOW_MS - 60_000, notAfterMs: NOW_MS + 3_600_000 }
const long = { notBeforeMs: NOW_MS - 86_400_000, notAfterMs: NOW_MS + 86_400_000 }
const listening = (ip: string, port: number): PodActivity => ({
  ...NO_ACTIVITY,
  listeners: podListeners([{ ip, port, waitingCount: 0 }], {
    mesh: new Map(),
    services: {},
    isShared: false,
  }),
})
const lost = { kind: 'controller', isConnected: false, address: 'c:15012', lastFailure: 'refused' }

/** Each stops the pair: outcome, code, hop, what the fix says. */
const CAUSES: readonly (readonly [string, Case, PairVerdict['outcome'], string, string, RegExp])[] = [
  [
    'a policy',
    { pair: ['batch', 'cart', 80], mesh: { policies: NO_BATCH } },
    'refused',
    'POLICY_DENY',
    'destination',
    /shop\/no-batch/,
  ],
  [
    'strict',
    { pair: ['legacy', 'cart', 80], mesh: { policies: STRICT } },
    'refused',
    'PLAINTEXT_REFUSED',
    'destination',
    /enrol the calling/,
  ],
  [
    'a port of no service',
    { pair: ['front', 'cart', 81] },
    'refused',
    'NO_SUCH_PORT',
    'destination',
    /add the port/,
  ],
  [
    'a name of nobody',
    { pair: ['front', 'carr', 80] },
    'refused',
    'HOSTNAME_UNKNOWN',
    'name',
    /correct the name/,
  ],
  [
    'a caller of nobody',
    { pair: ['nobody', 'cart', 80] },
    'unknown',
    'WORKLOAD_UNKNOWN',
    'source',
    /check the name/,
  ],
  [
    'expired caller',
    { n1: await withCertificate(FRONT, authority, expired) },
    'refused',
    'CERT_EXPIRED',
    'source',
    /reaches the CA/,
  ],
  [
    'expired destination',
    { n2: await withCertificate(CART, authority, expired) },
    'refused',
    'CERT_EXPIRED',
    'destination',
    /reaches the CA/,
  ],
  [
    'a clock that is behind',
    { n2: await withCertificate(CART, authority, future) },
    'refused',
    'CERT_NOT_YET_VALID',
    'destination',
    /compare the clocks/,
  ],
  [
    'a clock that is behind, of the node that judges the caller',
    {
      n1: await withCertificate(FRONT, authority, fresh),
      n2: { ...(await withCertificate(CART, authority, long)), nowMs: NOW_MS - 7_200_000 },
    },
    'refused',
    'CERT_NOT_YET_VALID',
    'destination',
    /keep them by NTP/,
  ],
  [
    'a clock that is ahead, of the node that judges the destination',
    {
      n1: { ...(await withCertificate(FRONT, authority, long)), nowMs: NOW_MS + 7_200_000 },
      n2: await withCertificate(CART, authority, fresh),
    },
    'refused',
    'CERT_EXPIRED',
    'source',
    /keep them by NTP/,
  ],
  [
    'an application that does not listen',
    { n2: { activityOf: () => listening('127.0.0.1', 9000) } },
    'refused',
    'ENDPOINT_REFUSED',
    'application',
    /start the application/,
  ],
  [
    'an application that listens for itself alone',
    { n2: { activityOf: () => listening('127.0.0.1', 8080) } },
    'refused',
    'ENDPOINT_REFUSED',
    'application',
    /on all addresses/,
  ],
  ['another root', { n2: await withCertificate(CART, other) }, 'refused', 'CERT_INVALID', 'destination', /./],
  [
    'no certificate',
    { n1: await withCertificate(FRONT, null) },
    'refused',
    'CERT_UNAVAILABLE',
    'source',
    /check the CA/,
  ],
  ['no configuration', { n2: { state: null } }, 'refused', 'CONFIG_STALE', 'discovery', /./],
  ['a caller that left', { n1: { pods: [] } }, 'refused', 'NOT_ENROLLED', 'source', /./],
  [
    'a destination that left',
    { n2: { pods: [] } },
    'refused',
    'HBONE_PORT_REFUSED',
    'destination',
    /is enrolled there/,
  ],
  [
    'a port that is blocked',
    { n1: { records: [failed({ reason: 'HBONE_PORT_BLOCKED' })] } },
    'failing',
    'HBONE_PORT_BLOCKED',
    'network',
    /NetworkPolicy/,
  ],
  [
    'no application',
    { n1: { records: [failed({ reason: 'ENDPOINT_REFUSED' })] } },
    'failing',
    'ENDPOINT_REFUSED',
    'application',
    /start the application/,
  ],
  [
    'revoked',
    { n1: { records: [failed({ reason: 'CERT_REVOKED' })] } },
    'failing',
    'CERT_REVOKED',
    'source',
    /a new one/,
  ],
  [
    'a waypoint that is not there',
    { mesh: { waypoint: 'gone.shop' } },
    'refused',
    'WAYPOINT_MISSING',
    'waypoint',
    /create it/,
  ],
  [
    'a waypoint that is not there, before a pod that is called itself',
    { pair: ['front', '10.2.0.1', 8080], mesh: { waypoint: 'gone.shop' } },
    'refused',
    'WAYPOINT_MISSING',
    'waypoint',
    /create it/,
  ],
  [
    'a waypoint that is not there, for plain text',
    { pair: ['legacy', 'cart', 80], mesh: { waypoint: 'gone.shop' } },
    'refused',
    'WAYPOINT_MISSING',
    'waypoint',
    /create it/,
  ],
  [
    'a waypoint that does not take what is diverted to it',
    {
      pair: ['front', '10.2.0.1', 8080],
      mesh: { waypoint: 'wp.shop' },
      n1: { records: [failed({ reason: 'ENDPOINT_REFUSED' })] },
      n2: {
        records: [
          failed({
            ...{ reason: 'WAYPOINT_UNREACHABLE', direction: 'inbound', 'src.addr': '10.1.0.1:40001' },
            'dst.addr': '10.2.0.1:8080',
          }),
        ],
      },
    },
    'failing',
    'WAYPOINT_UNREACHABLE',
    'waypoint',
    /whether it runs/,
  ],
  [
    'what only the destination knows',
    {
      n1: { records: [failed({ reason: 'TUNNEL_RESET' })] },
      n2: {
        records: [
          failed({
            reason: 'CERT_REVOKED',
            direction: 'inbound',
            'dst.addr': '10.2.0.1:15008',
            'dst.hbone_addr': '',
          }),
        ],
      },
    },
    'failing',
    'CERT_REVOKED',
    'source',
    /a new one/,
  ],
]
for (const [name, each, outcome, code, hop, fix] of CAUSES)
  t.test(`it is stopped by: ${name}`, async (t) => {
    const told = await verdict(each)
    const { cause } = told
    t.strictSame(
      { outcome: told.outcome, code: told.code, hop: cause?.hop },
      { outcome, code, hop },
      JSON.stringify(told),
    )
    t.match(cause?.fix, fix)
    t.not(cause?.detail, '')
  })

/** cart-far, of another network, behind the gateway that the host name ew.shop stands for; `gateway`: its workload. */
const beyond = (gateway: string): Case => ({
  pair: ['front', 'far', 80],
  mesh: {
    more: `${gateway}
- ${workload('cart-far', '10.9.0.1', 'network: west, networkGateway: {destination: shop/ew.shop, hboneMtlsPort: 15008}, services: {shop/far.shop.svc.cluster.local: {80: 8080}}')}`,
    services:
      '- {name: far, namespace: shop, hostname: far.shop.svc.cluster.local, vips: ["/10.96.0.30"], ports: {80: 8080}, ' +
      'subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/far"]}',
  },
})

t.test('a gateway that is known by its host name is named, and blamed for what it lacks', async (t) => {
  t.match(await verdict(beyond(`- ${workload('ew-0', '10.2.4.1', 'node: n2, hostname: ew.shop')}`)), {
    outcome: 'allowed',
    cause: null,
    way: /through the gateway of another network, shop\/ew-0, at 10\.2\.4\.1:15008 .* as far\.shop\.svc/,
  })
  for (const [gateway, detail] of [
    [
      `- ${workload('ew-0', '', 'workloadIps: [], hostname: ew.shop')}`,
      /shop\/ew\.shop: ew-0 has no address, only the host name ew\.shop/,
    ],
    ['', /shop\/ew\.shop is no service or workload of the mesh/],
  ] as const) {
    const told = await verdict(beyond(gateway))
    t.match(told, { outcome: 'refused', code: 'NETWORK_GATEWAY' })
    t.match(told.cause, { hop: 'destination', detail, fix: /a gateway with an address/ })
  }
})

t.test('which waypoint a pair goes through is told, and why', async (t) => {
  const mesh = { waypoint: 'wp.shop' }
  const service = await verdict({ mesh })
  t.match(service, { outcome: 'allowed', cause: null, way: /through the waypoint 10\.2\.3\.1:15008/ })
  t.match(service.way, /: shop\/wp\.shop is the waypoint of the service shop\/cart$/)
  const diverted = /diverts it to the waypoint shop\/wp\.shop of its service shop\/cart at 10\.2\.3\.1:15008/
  t.match(await verdict({ pair: ['front', '10.2.0.1', 8080], mesh }), {
    ...{ outcome: 'allowed', cause: null, way: diverted },
  })
  t.match(await verdict({ pair: ['10.9.9.9', '10.2.0.1', 8080], mesh }), { outcome: 'plain', way: diverted })
  t.notMatch((await verdict({})).way, /waypoint/)
})

/** None of these stops it. */
const RISKS: readonly (readonly [string, Case, string, string])[] = [
  ['a node without controller', { n1: { source: lost } }, 'CONFIG_STALE', 'discovery'],
  [
    'a node that goes by what it saved',
    { n2: { source: { ...lost, snapshotAgeSeconds: 60 } } },
    'CONFIG_STALE',
    'discovery',
  ],
  [
    'a configuration that was not taken',
    { n1: { findings: ['mesh.yaml:3: no'] } },
    'CONFIG_INVALID',
    'discovery',
  ],
  [
    'a redirection that was damaged',
    { n1: { mendedMs: { 'u-front': NOW_MS - 9000 } } },
    'NOT_ENROLLED',
    'source',
  ],
  [
    'the same at the other end',
    { n2: { mendedMs: { 'u-cart': NOW_MS - 9000 } } },
    'NOT_ENROLLED',
    'destination',
  ],
  ['clocks that differ', { n2: { nowMs: NOW_MS - 45_000 } }, 'CLOCKS_APART', 'destination'],
  ['a process that drains', { n2: { isDraining: true } }, 'DRAIN', 'discovery'],
]
for (const [name, each, code, hop] of RISKS)
  t.test(`it is a risk, and stops nothing: ${name}`, async (t) => {
    const { outcome, cause, risks } = await verdict(each)
    t.strictSame({ outcome, cause }, { outcome: 'allowed', cause: null })
    t.strictSame(
      risks.map((risk) => [risk.code, risk.hop]),
      [[code, hop]],
    )
  })

t.test('one endpoint of two that is barred is a risk; both are a cause', async (t) => {
  const host = 'shop/cart.shop.svc.cluster.local'
  const second = `- ${workload('cart2', '10.2.0.3', `node: n2, services: {${host}: {80: 8080}}`)}`
  const half = await verdict({ mesh: { more: second } })
  t.equal(half.outcome, 'allowed')
  t.match(half.risks, [{ code: 'HBONE_PORT_REFUSED', where: 'shop/cart2' }])
  t.equal((await verdict({ mesh: { more: second }, n2: { pods: [] } })).code, 'HBONE_PORT_REFUSED')
})

t.test('a question that means several things, or lacks a port, is asked back', async (t) => {
  const mesh = {
    more: `- ${workload('legacy', '10.2.0.9', 'namespace: other, protocol: TCP')}`.replace(
      'uid: legacy',
      'uid: l2',
    ),
  }
  await t.rejects(facts({ mesh, pair: ['legacy', 'cart', 80] }), {
    exitCode: 2,
    message: /shop\/legacy.*other\/legacy/,
  })
  await t.rejects(facts({ pair: ['front', '10.2.0.1', 0] }), { exitCode: 2, message: /needs a port/ })
})

t.test('a destination whose node is not among those given is told', async (t) => {
  const certificateOf = (identity: string) => certificates.get(identity)
  const alone = await askPair(paperFleet(nodeView('n1', shopMesh(), { certificateOf })), {
    ...{ source: 'front', destination: 'cart', port: 80 },
  })
  const { cause, silent } = explainPair(alone)
  t.equal(cause, null)
  t.match(silent, [/the node n2 of shop\/cart was not asked/])
})
