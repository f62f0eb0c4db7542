// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MeshState } from '../../mesh/model/mesh-state.ts'
import { SERVICE_DEFAULTS, type Service } from '../../mesh/model/service.ts'
import { WORKLOAD_DEFAULTS, type Workload } from '../../mesh/model/workload.ts'
import type { WaypointModel } from '../../waypoint/model/describe.ts'
import { ViewKeeper } from '../../waypoint/view-keeper.ts'
import type { DownMessage } from '../../waypoint/worker-messages.ts'
import { ManualClock } from '../support/manual-clock.ts'

const own: Workload = {
  ...WORKLOAD_DEFAULTS,
  ...{ uid: 'wp', name: 'wp', namespace: 'shop', serviceAccount: 'wp', workloadIps: ['10.0.0.9'] },
}
const model = (ports: Record<number, number>, isOurs = true): WaypointModel => {
  const destination = { kind: 'address', network: '', ip: isOurs ? '10.0.0.9' : '10.0.0.8' } as const
  const cart: Service = {
    ...SERVICE_DEFAULTS,
    ...{ name: 'cart', namespace: 'shop', hostname: 'cart.svc', vips: [{ network: '', ip: '10.1.0.1' }] },
    ...{ ports, waypoint: { destination, hboneMtlsPort: 15008 } },
  }
  const state = new MeshState({ workloads: [own], services: [cart], policies: [] }, 1)
  return {
    state,
    own,
    network: '',
    routes: new Map(),
    requestPolicies: new Map(),
    requestTelemetry: new Map(),
    environment: () => '',
    trafficPolicies: new Map(),
  }
}

function setUp() {
  const told: string[] = []
  const tell = (message: DownMessage): string => {
    if (message.type === 'target') return `${message.view.kind} ${message.view.authority}`
    return message.type === 'cluster' ? `cluster ${message.facts.view.name}` : message.type
  }
  const clock = new ManualClock()
  const keeper = new ViewKeeper(clock, (worker, message) => told.push(`${worker} ${tell(message)}`))
  return { keeper, told, clock }
}

t.test('who asked is told again when it changes, and nobody else', async (t) => {
  const { keeper, told, clock } = setUp()
  keeper.onResolveTarget(0, '10.1.0.1:80')
  t.same(told, [], 'nothing is known yet')
  keeper.update(model({ 80: 80 }))
  keeper.onResolveTarget(0, '10.1.0.1:80')
  keeper.onResolveTarget(1, '10.1.0.1:80')
  keeper.onResolveCluster(1, 'shop/cart.svc|80|')
  t.same(told.splice(0), ['0 service 10.1.0.1:80', '1 service 10.1.0.1:80', '1 cluster shop/cart.svc|80|'])
  keeper.update(model({ 80: 80 }))
  t.same(told, [], 'nothing has changed')
  keeper.forget(0)
  keeper.update(model({ 80: 80 }, false))
  clock.advance(5_001)
  t.same(told.splice(0), ['1 unknown 10.1.0.1:80'])
  keeper.update(model({ 80: 80 }))
  t.same(told, [], 'what is not served is not kept')
})

t.test('what is not before this waypoint any more is served for a while as it was', async (t) => {
  const { keeper, told, clock } = setUp()
  keeper.update(model({ 80: 80 }))
  keeper.onResolveTarget(0, '10.1.0.1:80')
  keeper.update(model({ 80: 80 }, false))
  clock.advance(3_000)
  keeper.update(model({ 80: 80 }, false))
  keeper.onResolveTarget(1, '10.1.0.1:80')
  t.same(told.splice(0), ['0 service 10.1.0.1:80', '1 service 10.1.0.1:80'], 'also who asks only now')
  clock.advance(2_001)
  t.same(told.splice(0), ['0 unknown 10.1.0.1:80', '1 unknown 10.1.0.1:80'], 'no news makes it longer')
})

t.test('what comes back before its time is over stays', async (t) => {
  const { keeper, told, clock } = setUp()
  keeper.update(model({ 80: 80 }))
  keeper.onResolveTarget(0, '10.1.0.1:80')
  keeper.update(model({ 80: 80 }, false))
  keeper.update(model({ 80: 80 }))
  clock.advance(10_000)
  t.same(told.splice(0), ['0 service 10.1.0.1:80'])
  keeper.update(model({ 81: 80 }))
  t.same(told, ['0 unknown 10.1.0.1:80'], 'what is ours and has no such port is told at once')
})

t.test('what is not served is told each time', async (t) => {
  const { keeper, told } = setUp()
  keeper.update(model({ 80: 80 }))
  keeper.onResolveTarget(0, '10.1.0.1:81')
  keeper.onResolveTarget(0, '10.1.0.1:81')
  t.same(told, ['0 unknown 10.1.0.1:81', '0 unknown 10.1.0.1:81'])
})

t.test('who was sent here before this waypoint knew of it waits a moment', async (t) => {
  const { keeper, told, clock } = setUp()
  keeper.update(model({ 80: 80 }, false))
  keeper.onResolveTarget(0, '10.1.0.1:80')
  keeper.onResolveTarget(1, '10.9.9.9:80')
  t.same(told, [])
  keeper.update(model({ 80: 80 }))
  t.same(told.splice(0), ['0 service 10.1.0.1:80'])
  clock.advance(1_001)
  t.same(told, ['1 unknown 10.9.9.9:80'], 'and no longer')
})
