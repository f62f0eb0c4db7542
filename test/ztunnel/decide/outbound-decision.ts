// SPDX-License-Identifier: Apache-2.0
// The rows of SPEC HBONE §4.1, from configuration to decision: the view and the decision are one table.
import t from 'tap'
import { DestinationPicker } from '../../../mesh/balance/destination-picker.ts'
import { describeDestination } from '../../../mesh/model/destination.ts'
import { decideOutbound, isRecursive } from '../../../ztunnel/decide/outbound-decision.ts'
import { meshOf, workload } from '../../support/mesh.ts'
import { decideFor as decide, type OutboundSetup } from '../../support/outbound-setup.ts'

const WAYPOINT_SERVICE =
  '{name: wp, namespace: shop, hostname: wp.shop, vips: ["/10.9.9.9"], ports: {15008: 15008}}'
const WAYPOINT_POD = workload('wp', '10.0.0.99', 'protocol: TCP, services: {"shop/wp.shop": {15008: 15008}}')
const TO_WAYPOINT = 'waypoint: {destination: shop/wp.shop, hboneMtlsPort: 15008}'
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}-sa`
const service = (more: string): string =>
  `{name: s, namespace: shop, hostname: s.shop, vips: ["/10.9.0.1"], ports: {80: 8080, 81: 0}, ${more}}`
const member = (name: string, ip: string, more = '', ports = '{}'): string =>
  workload(name, ip, [`services: {"shop/s.shop": ${ports}}`, more].filter((each) => each !== '').join(', '))

/** The gateway of the network `far`, seen from ours. */
const EAST_WEST = '{name: ew, namespace: shop, hostname: ew.shop, vips: ["/10.9.9.8"], ports: {15008: 15008}}'
const GATEWAY_POD = workload('ew', '10.0.0.50', 'services: {"shop/ew.shop": {15008: 15008}}')
const TO_GATEWAY = 'networkGateway: {destination: shop/ew.shop, hboneMtlsPort: 15008}'
const FAR = `network: far, ${TO_GATEWAY}`
const FAR_IDENTITY = 'spiffe://x/ns/y/sa/far'
const SANS = `subjectAltNames: ["${FAR_IDENTITY}"]`
const PASSTHROUGH = 'loadBalancer: {routingPreferences: [], mode: Passthrough, healthPolicy: OnlyHealthy}'

const hbone = (ip: string, authority: string, ...identities: string[]): object => ({
  kind: 'hbone',
  dial: { ip, port: 15008 },
  authority,
  ...(identities.length > 0 ? { expectedIdentities: identities } : {}),
})
const plain = (ip: string, port: number): object => ({ kind: 'plain', dial: { ip, port } })
const refusal = (code: string): object => ({ kind: 'refusal', code })

const ROWS: [string, OutboundSetup, object][] = [
  ['0 loop', { ip: '127.0.0.1', port: 15001 }, refusal('LOOP')],
  ['0 another loopback port', { ip: '127.0.0.1', port: 8080 }, plain('127.0.0.1', 8080)],
  [
    '2 service waypoint',
    {
      services: [service(TO_WAYPOINT), WAYPOINT_SERVICE],
      workloads: [WAYPOINT_POD, member('a', '10.0.0.2')],
    },
    {
      ...hbone('10.0.0.99', '10.9.0.1:80', identity('wp')),
      isWaypoint: true,
      service: { hostname: 's.shop' },
    },
  ],
  [
    '2 waypoint by address',
    {
      services: [service('waypoint: {destination: /10.9.9.9, hboneMtlsPort: 15008}'), WAYPOINT_SERVICE],
      workloads: [WAYPOINT_POD],
    },
    hbone('10.0.0.99', '10.9.0.1:80'),
  ],
  [
    '2 waypoint is a workload address',
    {
      services: [service('waypoint: {destination: /10.0.0.99, hboneMtlsPort: 1234}')],
      workloads: [WAYPOINT_POD],
    },
    { kind: 'hbone', dial: { ip: '10.0.0.99', port: 1234 } },
  ],
  [
    '2 waypoint port is mapped',
    {
      services: [service(TO_WAYPOINT), WAYPOINT_SERVICE],
      workloads: [workload('wp', '10.0.0.99', 'services: {"shop/wp.shop": {15008: 25008}}')],
    },
    { dial: { ip: '10.0.0.99', port: 25008 } },
  ],
  [
    '2 port not mapped, application tunnel',
    {
      services: [service(TO_WAYPOINT), '{name: wp, namespace: shop, hostname: wp.shop, vips: [], ports: {}}'],
      workloads: [
        workload(
          'wp',
          '10.0.0.99',
          'services: {"shop/wp.shop": {}}, applicationTunnel: {protocol: PROXY, port: 15088}',
        ),
      ],
    },
    { dial: { ip: '10.0.0.99', port: 15008 } },
  ],
  [
    '2 port not mapped',
    {
      services: [service(TO_WAYPOINT), '{name: wp, namespace: shop, hostname: wp.shop, vips: [], ports: {}}'],
      workloads: [workload('wp', '10.0.0.99', 'services: {"shop/wp.shop": {}}')],
    },
    refusal('WAYPOINT_NOT_READY'),
  ],
  [
    '2 waypoint missing, endpoints there',
    { services: [service(TO_WAYPOINT)], workloads: [member('a', '10.0.0.2')] },
    refusal('WAYPOINT_MISSING'),
  ],
  [
    '2 waypoint without instance',
    { services: [service(TO_WAYPOINT), WAYPOINT_SERVICE], workloads: [member('a', '10.0.0.2')] },
    refusal('WAYPOINT_NOT_READY'),
  ],
  [
    '2 waypoint instances tried',
    { services: [service(TO_WAYPOINT), WAYPOINT_SERVICE], workloads: [WAYPOINT_POD], tried: ['wp'] },
    refusal('WAYPOINT_NOT_READY'),
  ],
  [
    '2 waypoint in another network',
    {
      services: [service(TO_WAYPOINT), WAYPOINT_SERVICE],
      workloads: [workload('wp', '10.0.0.99', 'network: far, services: {"shop/wp.shop": {}}')],
    },
    refusal('NETWORK_GATEWAY'),
  ],
  [
    '2 all weights are zero',
    {
      services: [
        service(
          `${TO_WAYPOINT}, weightedWaypoints: [{destination: {destination: shop/none, hboneMtlsPort: 1}, weight: 0}]`,
        ),
        WAYPOINT_SERVICE,
      ],
      workloads: [WAYPOINT_POD],
    },
    hbone('10.0.0.99', '10.9.0.1:80'),
  ],
  [
    '3 endpoint of a service',
    {
      services: [service('subjectAltNames: ["spiffe://x/ns/y/sa/z"]')],
      workloads: [member('a', '10.0.0.2')],
    },
    { ...hbone('10.0.0.2', '10.0.0.2:8080', identity('a'), 'spiffe://x/ns/y/sa/z'), isWaypoint: false },
  ],
  [
    '3 endpoint map beats target port',
    { services: [service('')], workloads: [member('a', '10.0.0.2', '', '{80: 9090}')] },
    hbone('10.0.0.2', '10.0.0.2:9090'),
  ],
  [
    '3 named target port in the map',
    { services: [service('')], workloads: [member('a', '10.0.0.2', '', '{81: 9091}')], port: 81 },
    hbone('10.0.0.2', '10.0.0.2:9091'),
  ],
  [
    '3 target port nowhere',
    { services: [service('')], workloads: [member('a', '10.0.0.2')], port: 81 },
    refusal('NO_ENDPOINT'),
  ],
  [
    '3 target port of an application tunnel',
    {
      services: [service('')],
      workloads: [member('a', '10.0.0.2', 'applicationTunnel: {protocol: NONE, port: 7}')],
      port: 81,
    },
    hbone('10.0.0.2', '10.0.0.2:81'),
  ],
  [
    '3 service before workload of that address',
    { services: [service('')], workloads: [member('a', '10.0.0.2'), workload('b', '10.9.0.1')] },
    hbone('10.0.0.2', '10.0.0.2:8080'),
  ],
  [
    '1 workload before service for the waypoint',
    {
      services: [service(TO_WAYPOINT), WAYPOINT_SERVICE],
      workloads: [WAYPOINT_POD, member('a', '10.0.0.2'), workload('b', '10.9.0.1')],
    },
    hbone('10.0.0.2', '10.0.0.2:8080'),
  ],
  [
    '4 no endpoint, and a workload has the address too',
    { services: [service('')], workloads: [workload('b', '10.9.0.1')] },
    refusal('NO_ENDPOINT'),
  ],
  ['4 no endpoint', { services: [service('')] }, refusal('NO_ENDPOINT')],
  [
    '4 unhealthy',
    { services: [service('')], workloads: [member('a', '10.0.0.2', 'status: Unhealthy')] },
    refusal('NO_ENDPOINT'),
  ],
  [
    '4 unhealthy allowed',
    {
      services: [service('loadBalancer: {routingPreferences: [], mode: Standard, healthPolicy: AllowAll}')],
      workloads: [member('a', '10.0.0.2', 'status: Unhealthy')],
    },
    hbone('10.0.0.2', '10.0.0.2:8080'),
  ],
  [
    '4 capacity 0',
    { services: [service('')], workloads: [member('a', '10.0.0.2', 'capacity: 0')] },
    refusal('NO_ENDPOINT'),
  ],
  [
    '4 missing port',
    { services: [service('')], workloads: [member('a', '10.0.0.2')], port: 82 },
    refusal('NO_SUCH_PORT'),
  ],
  [
    '4 every endpoint tried',
    { services: [service('')], workloads: [member('a', '10.0.0.2')], tried: ['a'] },
    refusal('NO_ENDPOINT'),
  ],
  [
    '4 another endpoint after a failure',
    { services: [service('')], workloads: [member('a', '10.0.0.2'), member('b', '10.0.0.3')], tried: ['a'] },
    hbone('10.0.0.3', '10.0.0.3:8080'),
  ],
  ['5 unknown address', { ip: '1.1.1.1', port: 443 }, { ...plain('1.1.1.1', 443), workload: null }],
  ['5 passthrough service', { services: [service(PASSTHROUGH)] }, plain('10.9.0.1', 80)],
  [
    '5 passthrough service with endpoints: the address is dialled all the same',
    { services: [service(PASSTHROUGH)], workloads: [member('a', '10.0.0.2')] },
    plain('10.9.0.1', 80),
  ],
  [
    '5 passthrough service whose address is a workload of the mesh',
    { services: [service(PASSTHROUGH)], workloads: [workload('a', '10.9.0.1')] },
    hbone('10.9.0.1', '10.9.0.1:80', identity('a')),
  ],
  [
    '6 endpoint in another network',
    { services: [service('')], workloads: [member('a', '10.0.0.2', 'network: far')] },
    refusal('NETWORK_GATEWAY'),
  ],
  [
    '6 reachable endpoints are used',
    {
      services: [service('')],
      workloads: [member('a', '10.0.0.2', 'network: far'), member('b', '10.0.0.3')],
    },
    hbone('10.0.0.3', '10.0.0.3:8080'),
  ],
  [
    '6 endpoint behind a gateway',
    {
      services: [service(SANS), EAST_WEST],
      workloads: [GATEWAY_POD, member('a', '', `${FAR}, workloadIps: []`)],
    },
    {
      ...hbone('10.0.0.50', 's.shop:80', identity('ew')),
      inner: { expectedIdentities: [FAR_IDENTITY], forwardedNetwork: '' },
      ...{ uid: 'ew', isWaypoint: false, service: { hostname: 's.shop' }, workload: { name: 'ew' } },
    },
  ],
  [
    '6 the gateway is a workload address, of its own network',
    {
      services: [service(SANS)],
      workloads: [
        workload('ew', '10.0.0.50', 'network: far, capacity: 0'),
        member(
          'a',
          '10.7.0.1',
          'network: far, networkGateway: {destination: far/10.0.0.50, hboneMtlsPort: 15443}',
        ),
      ],
    },
    { kind: 'hbone', dial: { ip: '10.0.0.50', port: 15443 }, authority: 's.shop:80', uid: 'ew' },
  ],
  [
    '6 a gateway of the own network is not used for who is near',
    { services: [service(SANS), EAST_WEST], workloads: [GATEWAY_POD, member('a', '10.0.0.2', TO_GATEWAY)] },
    { ...hbone('10.0.0.2', '10.0.0.2:8080'), inner: null },
  ],
  [
    '6 the gateway was tried',
    {
      services: [service(SANS), EAST_WEST],
      workloads: [GATEWAY_POD, member('a', '10.7.0.1', FAR)],
      tried: ['ew'],
    },
    refusal('NO_ENDPOINT'),
  ],
  [
    '6 an unhealthy gateway',
    {
      services: [service(SANS), EAST_WEST],
      workloads: [GATEWAY_POD.replace('{uid', '{status: Unhealthy, uid'), member('a', '10.7.0.1', FAR)],
    },
    { ...refusal('NETWORK_GATEWAY'), detail: 'shop/ew.shop has no endpoint for port 15008' },
  ],
  [
    '6 the gateway service does not list the port',
    {
      services: [service(SANS), EAST_WEST.replace('15008: 15008', '15443: 15008')],
      workloads: [GATEWAY_POD.replace('15008: 15008', ''), member('a', '10.7.0.1', FAR)],
    },
    refusal('NETWORK_GATEWAY'),
  ],
  [
    '6 the gateway does not exist',
    { services: [service(SANS)], workloads: [member('a', '10.7.0.1', FAR)] },
    {
      ...refusal('NETWORK_GATEWAY'),
      detail: 'the gateway shop/ew.shop is no service or workload of the mesh',
    },
  ],
  [
    '6 a gateway that is one workload, known by its host name',
    {
      services: [service(SANS)],
      workloads: [workload('ew', '10.0.0.50', 'hostname: ew.shop'), member('a', '10.7.0.1', FAR)],
    },
    { ...hbone('10.0.0.50', 's.shop:80', identity('ew')), uid: 'ew' },
  ],
  [
    '6 a gateway of which nothing but a host name is known',
    {
      services: [service(SANS)],
      workloads: [workload('ew', '', 'workloadIps: [], hostname: ew.shop'), member('a', '10.7.0.1', FAR)],
    },
    {
      ...refusal('NETWORK_GATEWAY'),
      detail: 'the gateway shop/ew.shop: ew has no address, only the host name ew.shop',
    },
  ],
  [
    '6 nobody may answer behind the gateway',
    { services: [service(''), EAST_WEST], workloads: [GATEWAY_POD, member('a', '10.7.0.1', FAR)] },
    refusal('NETWORK_GATEWAY'),
  ],
  [
    '6 a port the far endpoint does not have',
    {
      services: [service(SANS), EAST_WEST],
      workloads: [GATEWAY_POD, member('a', '10.7.0.1', FAR)],
      port: 81,
    },
    refusal('NO_ENDPOINT'),
  ],
  [
    '2 waypoint behind a gateway',
    {
      services: [
        service(`${TO_WAYPOINT}, ${SANS}`),
        WAYPOINT_SERVICE.replace('}}', '}, subjectAltNames: ["spiffe://x/ns/y/sa/far-wp"]}'),
        EAST_WEST,
      ],
      workloads: [GATEWAY_POD, workload('wp', '', `${FAR}, workloadIps: [], services: {"shop/wp.shop": {}}`)],
    },
    {
      ...hbone('10.0.0.50', 's.shop:80', identity('ew')),
      inner: { expectedIdentities: ['spiffe://x/ns/y/sa/far-wp'] },
      isWaypoint: true,
    },
  ],
  [
    '7 workload waypoint behind a gateway: no service was addressed',
    {
      services: [
        WAYPOINT_SERVICE.replace('}}', '}, subjectAltNames: ["spiffe://x/ns/y/sa/far-wp"]}'),
        EAST_WEST,
      ],
      workloads: [
        GATEWAY_POD,
        workload('wp', '', `${FAR}, workloadIps: [], services: {"shop/wp.shop": {}}`),
        workload('a', '10.0.0.2', TO_WAYPOINT),
      ],
      ip: '10.0.0.2',
    },
    refusal('NETWORK_GATEWAY'),
  ],
  [
    '6 workload in another network',
    { source: 'network: near', workloads: [workload('a', '10.0.0.2')], ip: '10.0.0.2' },
    refusal('NETWORK_GATEWAY'),
  ],
  [
    '7 workload waypoint',
    {
      services: [WAYPOINT_SERVICE],
      workloads: [WAYPOINT_POD, workload('a', '10.0.0.2', TO_WAYPOINT)],
      ip: '10.0.0.2',
    },
    hbone('10.0.0.99', '10.0.0.2:80', identity('wp')),
  ],
  [
    '7 from the waypoint itself',
    {
      services: [WAYPOINT_SERVICE],
      source: 'services: {"shop/wp.shop": {}}',
      workloads: [workload('a', '10.0.0.2', TO_WAYPOINT)],
      ip: '10.0.0.2',
    },
    hbone('10.0.0.2', '10.0.0.2:80', identity('a')),
  ],
  [
    '7 service-addressed traffic ignores a workload waypoint',
    {
      services: [service(''), WAYPOINT_SERVICE],
      workloads: [WAYPOINT_POD, member('a', '10.0.0.2', TO_WAYPOINT)],
    },
    hbone('10.0.0.2', '10.0.0.2:8080'),
  ],
  [
    '8 HBONE workload',
    { workloads: [workload('a', '10.0.0.2')], ip: '10.0.0.2', port: 9999 },
    hbone('10.0.0.2', '10.0.0.2:9999', identity('a')),
  ],
  ['8 IPv6', { workloads: [workload('a', 'fd00::2')], ip: 'fd00::2' }, hbone('fd00::2', '[fd00::2]:80')],
  [
    '9 plain workload',
    { workloads: [workload('a', '10.0.0.2', 'protocol: TCP')], ip: '10.0.0.2' },
    plain('10.0.0.2', 80),
  ],
  [
    '9 plain endpoint',
    { services: [service('')], workloads: [member('a', '10.0.0.2', 'protocol: TCP')] },
    plain('10.0.0.2', 8080),
  ],
  [
    'select 6: same family first',
    { services: [service('')], workloads: [member('a', '', 'workloadIps: ["fd00::2", "10.0.0.2"]')] },
    hbone('10.0.0.2', '10.0.0.2:8080'),
  ],
  [
    'select 6: allowed families only',
    {
      services: [service('ipFamilies: IPv6')],
      workloads: [member('a', '', 'workloadIps: ["10.0.0.2", "fd00::2"]')],
    },
    hbone('fd00::2', '[fd00::2]:8080'),
  ],
  [
    'select 6: no address',
    { services: [service('')], workloads: [member('a', '', 'workloadIps: []')] },
    refusal('NO_ENDPOINT'),
  ],
]

t.test('outbound decisions, row by row', async (t) => {
  for (const [row, setup, expected] of ROWS) t.match(decide(setup), expected, row)
})

t.test('locality: FAILOVER takes the best there are, STRICT only full matches', async (t) => {
  const place = (zone: string): string => `locality: {region: r, zone: ${zone}, subzone: ""}`
  const workloads = [member('far', '10.0.0.2', place('z2')), member('near', '10.0.0.3', place('z1'))]
  const balanced = (mode: string, list: string): string =>
    service(`loadBalancer: {routingPreferences: [${list}], mode: ${mode}, healthPolicy: OnlyHealthy}`)
  const source = place('z1')
  const failover = { services: [balanced('Failover', 'Region, Zone')], workloads, source }
  t.match(decide(failover), { uid: 'near' })
  t.match(decide({ ...failover, tried: ['near'] }), { uid: 'far' }, 'the next rank once the best is out')
  t.match(decide({ ...failover, services: [balanced('Failover', 'Network, Region, Zone')] }), { uid: 'near' })
  const strict = { ...failover, services: [balanced('Strict', 'Zone')] }
  t.match(decide({ ...strict, tried: ['near'] }), refusal('NO_ENDPOINT'), 'never beyond the zone')
  t.match(decide({ ...strict, services: [balanced('Strict', 'Network, Zone')] }), { uid: 'near' })
  t.match(
    decide({ ...strict, services: [balanced('Strict', 'Node')], source: `${source}, node: n9` }),
    refusal('NO_ENDPOINT'),
  )
})

t.test('an enrolled pod without configuration is refused by name', async (t) => {
  const mesh = meshOf(`workloads:\n- ${workload('client', '10.0.0.1')}`, 7)
  const client = mesh.workloadByUid('client')
  if (client === undefined) throw new Error('no client')
  const view = describeDestination(mesh, client, '', '1.1.1.1', 80)
  t.equal(view.modelVersion, 7)
  t.match(decideOutbound(null, view, new DestinationPicker(view, () => 0)), refusal('WORKLOAD_UNKNOWN'))
})

t.test('only loopback ports of the mesh are recursive; 15080 when SOCKS5 is on', async (t) => {
  for (const port of [15001, 15006, 15008]) t.ok(isRecursive('127.0.0.1', port, false))
  t.ok(isRecursive('::1', 15080, true))
  t.notOk(isRecursive('::1', 15080, false))
  t.notOk(isRecursive('10.0.0.1', 15001, true))
})
