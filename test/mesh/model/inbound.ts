// SPDX-License-Identifier: Apache-2.0
// What the view of a served pod holds. What is then accepted, row by row: test/ztunnel/decide/inbound-decision.ts.
import t from 'tap'
import { describeInbound, type InboundView, isSameInbound } from '../../../mesh/model/inbound.ts'
import type { Policy } from '../../../mesh/model/policy.ts'
import { meshOf, workload } from '../../support/mesh.ts'

interface Setup {
  readonly pod?: string
  readonly others?: readonly string[]
  readonly services?: readonly string[]
  readonly policies?: readonly string[]
}

function describe({ pod = '', others = [], services = [], policies = [] }: Setup): InboundView {
  const list = (key: string, items: readonly string[]): string =>
    `${key}:${items.length === 0 ? ' []' : items.map((each) => `\n- ${each}`).join('')}\n`
  const mesh = meshOf(
    list('workloads', [workload('pod', '10.0.0.1', pod), ...others]) +
      list('services', services) +
      list('policies', policies),
    9,
  )
  const served = mesh.workloadByUid('pod')
  if (served === undefined) throw new Error('no pod')
  return describeInbound(mesh, served)
}
const service = (name: string, namespace: string, more: string, vip = '10.9.0.1'): string =>
  `{name: ${name}, namespace: ${namespace}, vips: ["/${vip}"], ports: {80: 8080, 81: 0}, ${more}}`
const MEMBER = 'services: {"shop/s.shop": {80: 9090}}'

t.test('a view is of one model and crosses to workers', async (t) => {
  const tunnel = { protocol: 'PROXY', port: 7 }
  const view = describe({ pod: `${MEMBER}, applicationTunnel: {protocol: PROXY, port: 7}` })
  t.match(view, { modelVersion: 9, workload: { uid: 'pod' }, applicationTunnel: tunnel })
  t.same(view.policies, [])
  t.same(structuredClone(view), view)
})

t.test('host names lead to this endpoint’s ports, then to the service’s', async (t) => {
  const hosts = (setup: Setup) =>
    [...describe(setup).hosts].map(([host, { ports }]) => [host, Object.fromEntries(ports)])
  const own = service('s', 'shop', 'hostname: s.shop')
  t.same(hosts({ pod: MEMBER, services: [own] }), [['s.shop', { 80: 9090, 81: 0 }]])
  t.same(hosts({ pod: 'services: {"shop/s.shop": {}}', services: [own] }), [['s.shop', { 80: 8080, 81: 0 }]])
  t.same(hosts({ pod: MEMBER }), [], 'a service nobody described')
  t.same(hosts({ services: [own] }), [], 'a service of others')
  const hidden = service('s', 'pay', 'hostname: s.pay, visibility: Namespace')
  t.same(hosts({ pod: 'services: {"pay/s.pay": {}}', services: [hidden] }), [], 'a service it cannot see')
})

t.test('a host has an address: of its own network, IPv4 first', async (t) => {
  const vipOf = (vips: string): string | null | undefined => {
    const named = `{name: s, namespace: shop, hostname: s.shop, vips: ${vips}, ports: {80: 8080}}`
    return describe({ pod: MEMBER, services: [named] }).hosts.get('s.shop')?.vip
  }
  t.equal(vipOf('["far/10.9.0.9", "/fd00::9", "/10.9.0.1"]'), '10.9.0.1')
  t.equal(vipOf('["far/10.9.0.9", "/fd00::9"]'), 'fd00::9')
  t.equal(vipOf('["far/10.9.0.9"]'), '10.9.0.9')
  t.equal(vipOf('[]'), null)
})

t.test('a waypoint stands for the addresses of those that name it, on its network', async (t) => {
  const wp = service('wp', 'shop', 'hostname: wp.shop', '10.9.9.9')
  const by = 'waypoint: {destination: shop/wp.shop, hboneMtlsPort: 15008}'
  const cases: [string, Setup, string[]][] = [
    ['a service', { services: [wp, service('s', 'pay', `hostname: s.pay, ${by}`)] }, ['10.9.0.1']],
    ['a workload', { services: [wp], others: [workload('a', '10.0.0.2', by)] }, ['10.0.0.2']],
    [
      'a workload elsewhere',
      { services: [wp], others: [workload('a', '10.0.0.2', `network: far, ${by}`)] },
      [],
    ],
    [
      'a service of another namespace only',
      { services: [wp, service('s', 'pay', `hostname: s.pay, visibility: Namespace, ${by}`)] },
      [],
    ],
    [
      'by the pod’s own address',
      { others: [workload('a', '10.0.0.2', 'waypoint: {destination: /10.0.0.1, hboneMtlsPort: 15008}')] },
      ['10.0.0.2'],
    ],
    [
      'a share of the traffic',
      {
        services: [
          wp,
          service(
            's',
            'pay',
            'hostname: s.pay, weightedWaypoints: [{destination: {destination: shop/wp.shop, hboneMtlsPort: 1}, weight: 1}]',
          ),
        ],
      },
      ['10.9.0.1'],
    ],
    ['nobody', { services: [wp, service('s', 'pay', 'hostname: s.pay')] }, []],
    ['of somebody unknown', { services: [service('s', 'pay', `hostname: s.pay, ${by}`)] }, []],
  ]
  for (const [name, setup, fronted] of cases) {
    const view = describe({ ...setup, pod: 'services: {"shop/wp.shop": {}}' })
    t.same([...view.fronted], fronted, name)
    t.same([...describe(setup).fronted], name === 'by the pod’s own address' ? fronted : [], `not ${name}`)
  }
})

t.test('only the policies of this pod come along', async (t) => {
  const policy = (name: string, namespace: string, scope: string): string =>
    `{name: ${name}, namespace: ${namespace}, scope: ${scope}, action: Deny, dryRun: false, rules: []}`
  const view = describe({
    pod: 'authorizationPolicies: [pay/named, pay/unknown]',
    policies: [
      policy('everywhere', 'root', 'Global'),
      policy('mine', 'shop', 'Namespace'),
      policy('theirs', 'pay', 'Namespace'),
      policy('named', 'pay', 'WorkloadSelector'),
      policy('unnamed', 'shop', 'WorkloadSelector'),
    ],
  })
  t.same(view.policies.map(({ name }) => name).toSorted(), ['everywhere', 'mine', 'named'])
})

t.test('a description is the same as long as nothing in it has changed', async (t) => {
  const setup = { pod: MEMBER, services: [service('s', 'shop', 'hostname: s.shop')] }
  const view = describe(setup)
  t.ok(isSameInbound(view, { ...describe(setup), modelVersion: 10 }))
  const policy: Policy = {
    ...{ name: 'p', namespace: 'shop', scope: 'Namespace', action: 'Deny', rules: [], dryRun: false },
  }
  for (const other of [
    { ...view, policies: [policy] },
    { ...view, hosts: new Map([['s.shop', { vip: '10.9.0.1', ports: new Map([[80, 9091]]) }]]) },
    { ...view, fronted: new Set(['10.9.0.9']) },
    { ...view, isSameNodeDirect: true },
    { ...view, guard: { identities: [], addresses: [], ways: [] } },
    { ...view, workload: { ...view.workload, canonicalRevision: 'v2' } },
    { ...view, applicationTunnel: { protocol: 'NONE' as const, port: 1 } },
  ])
    t.notOk(isSameInbound(view, other))
  t.notOk(isSameInbound({ ...view, policies: [policy] }, { ...view, policies: [{ ...policy }] }))
})
