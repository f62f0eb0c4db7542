// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MeshState } from '../../../mesh/model/mesh-state.ts'
import type { Policy } from '../../../mesh/model/policy.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const service = (name: string, namespace: string, more: string): string =>
  `{name: ${name}, namespace: ${namespace}, ports: {80: 8080}, ${more}}`

t.test('workloads are found by uid, address, host, identity and namespace', async (t) => {
  const mesh = meshOf(`
workloads:
- ${workload('a', '10.0.0.1', 'hostname: a.example.com, network: net1')}
- ${workload('b', '10.0.0.2', 'networkMode: HostNetwork')}
- ${workload('c', '10.0.0.1')}
`)
  t.equal(mesh.workloadByUid('a')?.name, 'a')
  t.equal(mesh.workloadByIp('net1', '10.0.0.1')?.name, 'a', 'one address on two networks')
  t.equal(mesh.workloadByIp('', '10.0.0.1')?.name, 'c')
  t.equal(mesh.workloadByIp('', '10.0.0.2'), undefined, 'host network is never found by IP')
  t.equal(mesh.workloadByHost('shop', 'a.example.com')?.name, 'a')
  t.equal(mesh.workloadByHost('pay', 'a.example.com'), undefined)
  t.equal(mesh.workloadsOfNamespace('shop').length, 3)
  t.equal(mesh.ownWorkload('shop', 'b', 'b-sa')?.uid, 'b')
  t.equal(mesh.ownWorkload('shop', 'b', 'other'), undefined)
})

t.test(
  'among services of one VIP or host the own namespace wins, then canonical, then the first',
  async (t) => {
    const both = 'hostname: x.example, vips: ["/10.9.0.1"]'
    const mesh = meshOf(`
services:
- ${service('one', 'one', both)}
- ${service('two', 'two', both)}
- ${service('three', 'three', `${both}, canonical: true`)}
- ${service('hidden', 'hidden', `${both}, visibility: Namespace, canonical: true`)}
`)
    for (const find of [
      (ns: string) => mesh.serviceByVip('', '10.9.0.1', ns),
      (ns: string) => mesh.serviceByHost('x.example', ns),
    ]) {
      t.equal(find('two')?.name, 'two')
      t.equal(find('elsewhere')?.name, 'three')
      t.equal(find('hidden')?.name, 'hidden')
    }
    t.equal(mesh.serviceByVip('other', '10.9.0.1', 'two'), undefined)
    t.equal(mesh.serviceByKey('hidden', 'x.example')?.name, 'hidden')
  },
)

t.test('exact VIPs come before ranges, ranges by namespace, length, canonical', async (t) => {
  const range = (name: string, namespace: string, cidr: string, more = ''): string =>
    service(name, namespace, `hostname: ${name}.example, vips: [], cidrVips: ["/${cidr}"]${more}`)
  const mesh = meshOf(`
services:
- ${range('wide', 'a', '10.0.0.0/8')}
- ${range('narrow', 'a', '10.1.0.0/16')}
- ${range('canonical', 'a', '10.1.0.0/16', ', canonical: true')}
- ${range('own', 'b', '10.0.0.0/7')}
- ${range('hidden', 'c', '10.1.2.0/24', ', visibility: Namespace')}
- ${service('exact', 'a', 'hostname: exact.example, vips: ["/10.1.2.3"]')}
`)
  t.equal(mesh.serviceByVip('', '10.1.2.3', 'b')?.name, 'exact')
  t.equal(mesh.serviceByVip('', '10.1.2.4', 'z')?.name, 'canonical')
  t.equal(mesh.serviceByVip('', '10.2.0.1', 'z')?.name, 'wide')
  t.equal(mesh.serviceByVip('', '10.1.2.4', 'b')?.name, 'own')
  t.equal(mesh.serviceByVip('', '10.1.2.4', 'c')?.name, 'hidden')
  t.equal(mesh.serviceByVip('', '12.0.0.1', 'z'), undefined)
})

t.test(
  'the policies of a workload: its namespace, global ones, named ones; unknown names are skipped',
  async (t) => {
    const policy = (name: string, namespace: string, scope: string): string =>
      `{name: ${name}, namespace: ${namespace}, scope: ${scope}, action: Deny, dryRun: false, rules: []}`
    const mesh = meshOf(`
workloads:
- ${workload('a', '10.0.0.1', 'authorizationPolicies: [shop/named, shop/unknown, shop/local]')}
policies:
- ${policy('local', 'shop', 'Namespace')}
- ${policy('foreign', 'pay', 'Namespace')}
- ${policy('global', 'istio-system', 'Global')}
- ${policy('named', 'shop', 'WorkloadSelector')}
- ${policy('unnamed', 'shop', 'WorkloadSelector')}
`)
    const a = mesh.workloadByUid('a')
    if (a === undefined) throw new Error('no workload')
    t.same(
      mesh.policiesFor(a).map(({ name }) => name),
      ['local', 'global', 'named'],
    )
  },
)

t.test('a change of policies shares everything else; a change of a workload does not', async (t) => {
  const first = meshOf(`
workloads:
- ${workload('a', '10.0.0.1')}
- ${workload('b', '10.0.0.2')}
services:
- ${service('s', 'shop', 'hostname: s.shop, vips: ["/10.9.0.1"]')}
`)
  const policy: Policy = {
    ...{ name: 'p', namespace: 'shop', scope: 'Namespace', action: 'Deny', rules: [], dryRun: false },
  }
  const { workloads, services } = first
  const second = new MeshState(
    { workloads: [...workloads], services: [...services], policies: [policy] },
    2,
    first,
  )
  t.ok(second.hasAddressesOf(first))
  t.equal(second.version, 2)
  const [a] = workloads
  if (a === undefined) throw new Error('no workload')
  t.same([first.policiesFor(a), second.policiesFor(a)], [[], [policy]])
  for (const changed of [
    [a],
    [...workloads].reverse(),
    [{ ...a, status: 'Unhealthy' as const }, ...workloads.slice(1)],
  ]) {
    const third = new MeshState({ workloads: changed, services, policies: [policy] }, 3, second)
    t.notOk(third.hasAddressesOf(second))
    t.same(third.workloads, changed)
  }
  t.notOk(new MeshState({ workloads, services: [], policies: [] }, 4, second).hasAddressesOf(second))
})

t.test('only what names a waypoint is behind one', async (t) => {
  const waypoint = 'waypoint: {destination: "shop/w.shop", hboneMtlsPort: 15008}'
  const mesh = meshOf(`
workloads:
- ${workload('a', '10.0.0.1')}
- ${workload('b', '10.0.0.2', waypoint)}
services:
- ${service('s', 'shop', 'hostname: s.shop, vips: []')}
- ${service('v', 'shop', `hostname: v.shop, vips: [], ${waypoint}`)}
`)
  const { workloads, services } = mesh.behindWaypoints
  t.same([workloads.map(({ uid }) => uid), services.map(({ name }) => name)], [['b'], ['v']])
})
