// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { desiredStatus } from '../../../controller/status/desired-status.ts'
import type { StatusPatch } from '../../../controller/status/status-patch.ts'
import { writeStatus } from '../../../controller/status/status-writer.ts'
import { withdrawStatuses, withoutOurs } from '../../../controller/status/withdraw-statuses.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { StatusApiFake } from '../../support/status-api.ts'
import { policiesYaml } from '../../support/status-policies.ts'
import { StatusWorld } from '../../support/status-view.ts'
import { SETTINGS } from '../../support/translated.ts'

const OURS = { type: 'sidestep.dev/Enforced', status: 'True', reason: 'Exact', message: '' } as const
const THEIRS = { type: 'istio.io/X', status: 'True' }
const CONTROLLER = 'sidestep.dev/waypoint-controller'

const patch = (extra: Partial<StatusPatch> = {}): StatusPatch => ({
  object: { group: 'security.istio.io', kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' },
  ...{ apiVersion: 'security.istio.io/v1', uid: 'u', generation: 2, conditions: [OURS] },
  ...{ gateway: null, parents: null },
  ...extra,
})

t.test('conditions of ours go, those of others stay, and so does every other field', async (t) => {
  t.same(withoutOurs({ conditions: [THEIRS, OURS], x: 1 }, patch()), {
    status: { conditions: [THEIRS], x: 1 },
    change: 'facts',
  })
  t.same(withoutOurs({ conditions: [OURS], x: 1 }, patch()), { status: { x: 1 }, change: 'facts' })
  for (const untouched of [{}, { conditions: [THEIRS] }, { conditions: 'garbage' }])
    t.same(withoutOurs(untouched, patch()), { status: untouched, change: 'none' })
})

t.test('of a Gateway its addresses and listeners go too, of a route our parents only', async (t) => {
  const gateway = { addresses: null, listeners: [] }
  t.same(
    withoutOurs({ conditions: [OURS], addresses: [{}], listeners: [{}], y: 2 }, patch({ gateway })).status,
    { y: 2 },
  )
  const parents = [{ controllerName: CONTROLLER }, { controllerName: 'other' }]
  const route = patch({ conditions: [], parents: [] })
  t.same(withoutOurs({ parents }, route).status, { parents: [{ controllerName: 'other' }] })
  t.same(withoutOurs({ parents: parents.slice(0, 1) }, route).status, { parents: [] }, 'it must be there')
})

function openLab(count: number) {
  const world = new StatusWorld(policiesYaml(count))
  const api = new StatusApiFake(world)
  const lab = { fence: 'a' as string | null }
  const options = { api, clock: new ManualClock(), fence: () => lab.fence }
  return { world, api, lab, options, patches: desiredStatus(world, SETTINGS) }
}

t.test('every object is gone through, whatever becomes of one', async (t) => {
  const { api, options, patches, world } = openLab(40)
  const { signal } = new AbortController()
  for (const each of patches.slice(1)) await writeStatus(each, { ...options, signal })
  api.fault = ({ method, path }) => {
    if (method === 'PUT' && path.includes('/p7/')) throw new Error('no answer')
  }
  t.same(await withdrawStatuses(patches, options), { written: 38, failed: 1 }, 'of one nothing was said')
  const left = world.all().filter(({ status }) => status.conditions !== undefined)
  t.same(
    left.map(({ metadata }) => metadata.name),
    ['p7'],
  )
})

t.test('without the lead nothing is written', async (t) => {
  const { api, lab, options, patches } = openLab(2)
  lab.fence = null
  t.same(await withdrawStatuses(patches, options), { written: 0, failed: 2 })
  t.same(api.writes, [])
})
