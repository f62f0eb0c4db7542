// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isAhead, mergeStatus } from '../../../controller/status/merge-status.ts'
import { routeStatuses } from '../../../controller/status/route-status.ts'
import type { StatusPatch } from '../../../controller/status/status-patch.ts'
import { type ConfigObject, refOf } from '../../../controller/watch/config-object.ts'
import { StatusWorld } from '../../support/status-view.ts'

const YAML = readFileSync(
  join(import.meta.dirname, '..', '..', 'fixtures', 'translate', 'http-routes.yaml'),
  'utf8',
)
const NOW_MS = Date.UTC(2026, 5, 1)
const NOW = '2026-06-01T00:00:00Z'

const desired = ({ objects, translation }: StatusWorld): StatusPatch[] =>
  routeStatuses(objects, translation.routeStates)

function patchOf(world: StatusWorld, name: string): StatusPatch {
  const patch = desired(world).find(({ object }) => object.name === name)
  if (patch === undefined) throw new Error(`no status for ${name}`)
  return patch
}

const told = ({ parents }: StatusPatch): string[] =>
  (parents ?? []).map(({ conditions }) =>
    conditions.map(({ type, status, reason }) => `${type}=${status} ${reason}`).join(', '),
  )

t.test('each parent behind a waypoint of ours is told what became of the route', async (t) => {
  const world = new StatusWorld(YAML)
  const fine = 'Accepted=True Accepted, ResolvedRefs=True ResolvedRefs'
  t.same(told(patchOf(world, 'full')), [fine])
  t.same(told(patchOf(world, 'consumer')), [fine])
  t.same(told(patchOf(world, 'broken-refs')), ['Accepted=True Accepted, ResolvedRefs=False RefNotPermitted'])
  t.same(told(patchOf(world, 'partly')), [`${fine}, PartiallyInvalid=True UnsupportedValue`])
  t.same(
    told(patchOf(world, 'lost')).map((text) => text.split(',')[0]),
    [
      'Accepted=False NoMatchingParent',
      'Accepted=False NoMatchingParent',
      'Accepted=False UnsupportedProtocol',
      'Accepted=False NotAllowedByListeners',
    ],
  )
})

/** What istiod wrote. */
const THEIRS = {
  parentRef: { group: '', kind: 'Service', name: 'echo' },
  controllerName: 'istio.io/gateway-controller',
  conditions: [{ type: 'Accepted', status: 'False', reason: 'Theirs' }],
}

function withStatus(object: ConfigObject, parents: readonly unknown[]): ConfigObject {
  return { ...object, status: { parents } }
}

t.test('entries of other controllers stay as they stand, ours are written once', async (t) => {
  const world = new StatusWorld(YAML)
  const patch = patchOf(world, 'partly')
  const before = { parents: [THEIRS], theirs: 1 }
  const { status, change } = mergeStatus(before, patch, NOW_MS)
  t.equal(change, 'facts')
  const parents = status.parents as readonly Record<string, unknown>[] // as: mergeStatus writes a list there
  t.equal(parents[0], THEIRS)
  t.equal(parents.length, 2)
  t.equal(parents[1]?.controllerName, 'sidestep.dev/waypoint-controller')
  t.same(parents[1]?.parentRef, patch.parents?.[0]?.parentRef)
  t.equal(status.theirs, 1)
  t.notOk('conditions' in status)
  t.match(JSON.stringify(parents[1]), NOW)
  t.equal(mergeStatus(status, patch, NOW_MS + 9999).change, 'none')
})

t.test('a condition that is no longer true of the route is taken away, and so is a parent', async (t) => {
  const world = new StatusWorld(YAML)
  const patch = patchOf(world, 'partly')
  const { status } = mergeStatus({}, patch, NOW_MS)
  const mended = {
    ...patch,
    parents:
      patchOf(world, 'full').parents?.map((each) => ({
        ...each,
        parentRef: patch.parents?.[0]?.parentRef ?? {},
      })) ?? [],
  }
  const after = mergeStatus(status, mended, NOW_MS)
  t.equal(after.change, 'facts')
  t.notMatch(JSON.stringify(after.status), /PartiallyInvalid/)
  t.equal(mergeStatus(after.status, mended, NOW_MS).change, 'none')
  const gone = mergeStatus(
    { parents: [THEIRS, ...(status.parents as unknown[])] },
    { ...patch, parents: [] },
    NOW_MS,
  ) // as: see above
  t.same(gone.status, { parents: [THEIRS] })
})

t.test('of a route that left us, what we said is taken back; of others nothing is said', async (t) => {
  const world = new StatusWorld(YAML.replaceAll('sidestep.dev/waypoint: wp', 'sidestep.dev/waypoint: none'))
  t.same(
    desired(world).map(({ object }) => object.name),
    ['lost'],
    'it names the waypoint itself',
  )
  const full = world.objects
    .list('HTTPRoute.gateway.networking.k8s.io')
    .find(({ metadata }) => metadata.name === 'full')
  if (full === undefined) throw new Error('no route')
  const ours = { ...THEIRS, controllerName: 'sidestep.dev/waypoint-controller' }
  world.change(withStatus(full, [THEIRS, ours]))
  const patch = patchOf(world, 'full')
  t.same(mergeStatus(world.object({ object: refOf(full) }).status, patch, NOW_MS).status, {
    parents: [THEIRS],
  })
})

t.test('who spoke for us of a later version is not talked over', async (t) => {
  const patch = patchOf(new StatusWorld(YAML), 'full')
  const entry = (controllerName: string, observedGeneration: number): object => ({
    parents: [{ controllerName, conditions: [{ type: 'Accepted', observedGeneration }] }],
  })
  t.equal(isAhead({ ...entry('sidestep.dev/waypoint-controller', 2) }, patch), true)
  t.equal(isAhead({ ...entry('sidestep.dev/waypoint-controller', 1) }, patch), false)
  t.equal(isAhead({ ...entry('istio.io/gateway-controller', 2) }, patch), false)
})
