// SPDX-License-Identifier: Apache-2.0
// The rows of SPEC HBONE §4.2.
import t from 'tap'
import { compilePolicies } from '../../../mesh/authz/evaluate.ts'
import { describeInbound } from '../../../mesh/model/inbound.ts'
import { decideInbound, type InboundRequest } from '../../../ztunnel/decide/inbound-decision.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const CLIENT = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'client-sa' }

const MESH = (more: string, pods = '', policies = '[]'): string => `
workloads:
- ${workload('pod', '10.0.0.1', `services: {"shop/s.shop": {80: 9090}}${more === '' ? '' : `, ${more}`}`)}
${pods}
services:
- {name: s, namespace: shop, hostname: s.shop, vips: ["/10.9.0.1"], ports: {80: 8080, 81: 8081, 82: 0}}
- {name: fronted, namespace: pay, hostname: fronted.pay, vips: ["/10.9.0.2"], ports: {80: 80},
   waypoint: {destination: shop/s.shop, hboneMtlsPort: 15008}}
- {name: other, namespace: pay, hostname: other.pay, vips: ["/10.9.0.3"], ports: {80: 80}}
policies: ${policies}
`

function decide(request: Partial<InboundRequest>, more = '', pods = '', policies = '[]') {
  const mesh = meshOf(MESH(more, pods, policies))
  const pod = mesh.workloadByUid('pod')
  if (pod === undefined) throw new Error('no pod')
  const view = structuredClone(describeInbound(mesh, pod))
  const index = compilePolicies(view.policies)
  const full = {
    host: '10.0.0.1',
    port: 80,
    localIp: '10.0.0.1',
    sourceIp: '10.0.0.7',
    identity: CLIENT,
    isDiverted: false,
    ...request,
  }
  return decideInbound(view, full, (connection) => index.evaluate(connection))
}
const to = (port: number): object => ({
  kind: 'inbound',
  dial: { ip: '10.0.0.1', port },
  proxiedTo: null,
})
const refusal = (code: string): object => ({ kind: 'refusal', code })

t.test('the authority must name this pod', async (t) => {
  t.match(decide({}), to(80), 'own address; the port is the authority’s')
  t.match(decide({ host: '10.0.0.2' }), refusal('CONNECT_DESTINATION'))
  t.match(decide({ host: '10.9.0.1' }), refusal('CONNECT_DESTINATION'), 'not even the VIP of its own service')
  t.match(decide({ host: 'fd00::1', localIp: 'fd00::1' }), { dial: { ip: 'fd00::1', port: 80 } })
})

t.test('a waypoint takes the addresses it stands for', async (t) => {
  t.match(decide({ host: '10.9.0.2' }), to(80), 'a service whose waypoint is a service of this pod')
  t.match(decide({ host: '10.9.0.3' }), refusal('CONNECT_DESTINATION'))
  const behind = `- ${workload('behind', '10.0.0.5', 'waypoint: {destination: /10.0.0.1, hboneMtlsPort: 15008}')}`
  t.match(decide({ host: '10.0.0.5' }, '', behind), to(80), 'a workload whose waypoint is this address')
  t.match(decide({ host: '10.0.0.6' }, '', behind), refusal('CONNECT_DESTINATION'))
})

t.test('a host name is resolved to the port of this endpoint', async (t) => {
  t.match(decide({ host: 's.shop', port: 80 }), to(9090), 'endpoint map')
  t.match(decide({ host: 's.shop', port: 81 }), to(8081), 'service target port')
  t.match(decide({ host: 's.shop', port: 82 }), refusal('NO_SUCH_PORT'))
  t.match(decide({ host: 's.shop', port: 83 }), refusal('NO_SUCH_PORT'))
  t.match(decide({ host: 'other.pay' }), refusal('HOSTNAME_UNKNOWN'))
})

t.test('an application tunnel overrides the port and skips the destination check', async (t) => {
  const none = 'applicationTunnel: {protocol: NONE, port: 7000}'
  t.match(decide({ host: '10.9.0.3' }, none), to(7000))
  t.match(decide({ port: 81 }, 'applicationTunnel: {protocol: NONE, port: 0}'), to(81))
  const proxy = 'applicationTunnel: {protocol: PROXY, port: 7000}'
  const decision = decide({}, proxy)
  t.match(decision, { dial: { ip: '127.0.0.1', port: 7000 }, proxiedTo: { ip: '10.0.0.1', port: 80 } })
  t.match(
    decide({ host: 's.shop', port: 81 }, proxy),
    { dial: { ip: '127.0.0.1', port: 7000 }, proxiedTo: { ip: '10.9.0.1', port: 81 } },
    'a name is told by its address',
  )
  t.match(
    decision,
    { connection: { destinationIp: '10.0.0.1', destinationPort: 7000 } },
    'policies see the pod',
  )
  t.match(decide({ localIp: 'fd00::1' }, proxy), { dial: { ip: '::1' } })
})

t.test('ports of the mesh are never dialled', async (t) => {
  for (const port of [15001, 15006, 15008, 15080]) t.match(decide({ port }), refusal('CONNECT_INTERNAL_PORT'))
  const tunnel = 'applicationTunnel: {protocol: NONE, port: 15008}'
  t.match(decide({}, tunnel), refusal('CONNECT_INTERNAL_PORT'), 'not even by an override')
})

t.test('of a pod that shows one port nothing else is reached, whatever policies say', async (t) => {
  t.match(decide({ onlyPort: 80 }), to(80))
  t.match(decide({ onlyPort: 80, port: 81 }), refusal('CONNECT_OWN_PORT'))
  t.match(decide({ onlyPort: 80, host: 's.shop', port: 80 }), refusal('CONNECT_OWN_PORT'), 'a name for 9090')
  t.match(decide({ onlyPort: 7000 }, 'applicationTunnel: {protocol: NONE, port: 7000}'), to(7000))
})

t.test('policies decide last, on the resolved port and the proved identity', async (t) => {
  const policies = `
- {name: p, namespace: shop, scope: Namespace, action: Deny, dryRun: false,
   rules: [[[{destinationPorts: [9090], serviceAccounts: [{namespace: shop, serviceAccount: client-sa}]}]]]}`
  t.match(decide({ host: 's.shop' }, '', '', policies), {
    code: 'POLICY_DENY',
    detail: 'explicitly denied by: shop/p',
  })
  t.match(decide({}, '', '', policies), to(80))
  const other = { ...CLIENT, serviceAccount: 'other' }
  t.match(decide({ host: 's.shop', identity: other }, '', '', policies), {
    kind: 'inbound',
    verdict: { allowed: true },
  })
  t.match(decide({ host: '10.0.0.2' }, '', '', policies), refusal('CONNECT_DESTINATION'), 'destination first')
})

t.test('an enrolled pod without configuration is refused by name', async (t) => {
  const request = {
    host: '10.0.0.1',
    port: 80,
    localIp: '10.0.0.1',
    sourceIp: '10.0.0.7',
    identity: CLIENT,
    isDiverted: false,
  }
  const never = (): never => {
    throw new Error('must not be asked')
  }
  t.match(decideInbound(null, request, never), refusal('WORKLOAD_UNKNOWN'))
})
