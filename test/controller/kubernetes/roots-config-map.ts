// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { rootsDuty } from '../../../controller/kubernetes/roots-config-map.ts'
import { ApiError } from '../../../mesh/kubernetes/client.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { TestMeshView } from '../../support/mesh-view.ts'
import { parseObjects, viewOf } from '../../support/yaml-objects.ts'

const STEP_MS = 500
const WORLD = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: bank}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: l7, namespace: shop, uid: u-1}, spec: {gatewayClassName: sidestep-waypoint, listeners: []}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: bank, uid: u-2}, spec: {gatewayClassName: nginx, listeners: []}}
`

interface Body {
  readonly metadata: { readonly ownerReferences?: readonly { readonly uid: string }[] }
  readonly data: Readonly<Record<string, string>>
}

function openLab(t: Test) {
  const clock = new ManualClock()
  const mesh = new TestMeshView()
  const lab = {
    roots: 'ROOT 1',
    fence: '1' as string | null,
    fault: (_namespace: string) => undefined as unknown,
  }
  const writes: { readonly namespace: string; readonly body: Body; readonly isForced: boolean }[] = []
  const logged: string[] = []
  let reloads = 0
  const duty = rootsDuty({
    ...{ mesh, namespace: 'istio-system', clock, random: () => 0.5 },
    rootsPem: async () => lab.roots,
    api: {
      apply: async (path, body, _signal, { isForced = true } = {}) => {
        const namespace =
          /^\/api\/v1\/namespaces\/(.+)\/configmaps\/istio-ca-root-cert$/.exec(path)?.[1] ?? path
        writes.push({ namespace, body: body as Body, isForced }) // as: what is looked at
        const fault = lab.fault(namespace)
        if (fault !== undefined) throw fault
      },
      reload: () => {
        reloads++
      },
    },
    log: pino({ level: 'warn' }, { write: (line: string) => void logged.push(line) }),
  })
  t.teardown(() => duty.stop())
  const pass = async (ms: number): Promise<void> => {
    for (let passedMs = 0; passedMs <= ms; passedMs += STEP_MS) {
      for (let count = 0; count < 20; count++) await turn()
      if (passedMs < ms) clock.advance(STEP_MS)
    }
  }
  const start = (): void => duty.start(() => lab.fence)
  return { clock, mesh, lab, writes, logged, duty, pass, start, reloads: () => reloads }
}

t.test(
  'the roots are where ztunnels run and beside every waypoint, and belong to its Gateway there',
  async (t) => {
    const { mesh, writes, pass, start } = openLab(t)
    start()
    await pass(0)
    t.same(
      writes.map(({ namespace, isForced }) => [namespace, isForced]),
      [['istio-system', false]],
      'before anything was read',
    )
    t.same(writes[0]?.body.data, { 'root-cert.pem': 'ROOT 1' })
    t.equal(writes[0]?.body.metadata.ownerReferences, undefined)
    mesh.changed(viewOf(parseObjects(WORLD)))
    await pass(2000)
    t.same(
      writes
        .slice(1)
        .map(({ namespace, body }) => [namespace, body.metadata.ownerReferences?.map(({ uid }) => uid)]),
      [['shop', ['u-1']]],
    )
  },
)

t.test('it is written again when the roots change, and every minute, and not otherwise', async (t) => {
  const { lab, mesh, writes, pass, start } = openLab(t)
  start()
  await pass(20_000)
  mesh.changed()
  await pass(10_000)
  t.equal(writes.length, 1)
  lab.roots = 'ROOT 1 ROOT 2'
  await pass(12_000)
  t.same(writes.at(-1)?.body.data, { 'root-cert.pem': 'ROOT 1 ROOT 2' })
  t.equal(writes.length, 2)
  await pass(60_000)
  t.equal(writes.length, 3)
})

t.test('what another controller writes is told and left alone; the others are written', async (t) => {
  const { lab, mesh, writes, logged, pass, start } = openLab(t)
  lab.fault = (namespace) =>
    namespace === 'istio-system' ? new ApiError(409, 'conflict with pilot') : undefined
  mesh.changed(viewOf(parseObjects(WORLD)))
  start()
  await pass(30_000)
  t.same(
    writes.map(({ namespace }) => namespace),
    ['istio-system', 'shop'],
  )
  t.equal(logged.length, 1)
  t.match(logged[0], 'another controller')
})

t.test(
  'a failure is tried again, later each time; without a token that is believed, with a new one',
  async (t) => {
    const { lab, writes, logged, pass, start, reloads } = openLab(t)
    lab.fault = () => new ApiError(401, 'Unauthorized')
    start()
    await pass(10_000)
    t.ok(writes.length >= 4 && writes.length <= 6, `${writes.length}`)
    t.equal(reloads(), writes.length)
    t.match(logged[0], 'APISERVER_DENIED')
    lab.fault = () => undefined
    await pass(30_000)
    const { length } = writes
    await pass(20_000)
    t.equal(writes.length, length, 'done')
  },
)

t.test('who leads no more writes nothing', async (t) => {
  const { lab, writes, duty, pass, start } = openLab(t)
  lab.fence = null
  start()
  await pass(70_000)
  t.equal(writes.length, 0)
  await duty.stop()
  lab.fence = '2'
  start()
  await pass(0)
  t.equal(writes.length, 1)
  await duty.stop()
  await pass(120_000)
  t.equal(writes.length, 1, 'stopped')
})
