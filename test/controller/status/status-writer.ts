// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { desiredStatus } from '../../../controller/status/desired-status.ts'
import type { StatusPatch } from '../../../controller/status/status-patch.ts'
import { statusPath, type WriteOutcome, writeStatus } from '../../../controller/status/status-writer.ts'
import { ApiError } from '../../../mesh/kubernetes/client.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { StatusApiFake } from '../../support/status-api.ts'
import { policiesYaml } from '../../support/status-policies.ts'
import { StatusWorld } from '../../support/status-view.ts'
import { SETTINGS } from '../../support/translated.ts'

const OTHER = { type: 'istio.io/X', status: 'True' }

function openLab(_t: Test) {
  const world = new StatusWorld(policiesYaml(1))
  const api = new StatusApiFake(world)
  const [patch] = desiredStatus(world, SETTINGS)
  if (patch === undefined) throw new Error('no patch')
  const clock = new ManualClock()
  const lab = { fence: 'a' as string | null, signal: new AbortController().signal }
  const write = async (what: StatusPatch = patch): Promise<WriteOutcome> =>
    await writeStatus(what, { api, clock, fence: () => lab.fence, signal: lab.signal })
  return { world, api, patch, lab, write }
}

t.test('it writes once, then finds it equal', async (t) => {
  const { api, write } = openLab(t)
  t.equal(await write(), 'written')
  t.equal(await write(), 'equal')
  t.same(
    api.requests.map((each) => each.slice(0, 3)),
    ['GET', 'PUT', 'GET'],
  )
})

t.test('what another writes between look and write is read again and kept', async (t) => {
  const { api, patch, write } = openLab(t)
  let others = 0
  api.fault = ({ method }) => {
    if (method === 'GET' || others === 2) return
    others++
    const object = api.object(patch)
    api.put({ ...object, status: { conditions: [{ ...OTHER, reason: `n${others}` }] } })
  }
  t.equal(await write(), 'written')
  t.equal(api.writes.length, 3)
  t.match(api.object(patch).status.conditions, { 0: { ...OTHER, reason: 'n2' }, 1: { reason: 'Exact' } })
})

t.test('who loses every time gives up for now', async (t) => {
  const { api, patch, write } = openLab(t)
  api.fault = ({ method }) => {
    if (method === 'PUT') api.put(api.object(patch))
  }
  await t.rejects(write(), { name: 'ApiError', message: 'the object has been modified' })
  t.equal(api.writes.length, 4)
})

t.test('without the lead nothing is written, also when it ends between look and write', async (t) => {
  const { api, lab, write } = openLab(t)
  lab.fence = null
  t.equal(await write(), 'fenced')
  t.same(api.requests, [])
  lab.fence = 'a'
  api.fault = () => {
    lab.fence = null
  }
  t.equal(await write(), 'fenced')
  t.same(api.writes, [])
})

t.test('an object that is gone, made anew, or spoken about already is left alone', async (t) => {
  const { world, api, patch, write } = openLab(t)
  t.equal(await write({ ...patch, uid: 'another' }), 'gone')
  t.equal(await write({ ...patch, object: { ...patch.object, name: 'none' } }), 'gone')
  t.equal(await write({ ...patch, generation: 2 }), 'written')
  t.equal(await write(), 'outdated', 'generation 1 is older')
  world.remove(patch)
  t.equal(await write(), 'gone')
  t.equal(api.writes.length, 1)
})

t.test('other failures are the caller’s, garbage is one', async (t) => {
  const { api, patch, write } = openLab(t)
  api.fault = () => {
    throw new ApiError(500, 'no')
  }
  await t.rejects(write(), { name: 'ApiError', message: 'no' })
  for (const answer of [7, null, {}, { metadata: 'x' }]) {
    const options = { clock: new ManualClock(), fence: () => 'a', signal: new AbortController().signal }
    const broken = { getJson: async () => answer, replace: async () => null }
    await t.rejects(writeStatus(patch, { ...options, api: broken }), /no object/)
  }
  t.same(api.writes, [])
})

t.test('paths are those of status subresources', async (t) => {
  const { patch } = openLab(t)
  t.equal(statusPath(patch), '/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/p0/status')
  const object = { group: 'gateway.networking.k8s.io', kind: 'GatewayClass', namespace: '', name: 'a/b' }
  const path = '/apis/gateway.networking.k8s.io/v1/gatewayclasses/a%2Fb/status'
  t.equal(statusPath({ object, apiVersion: 'gateway.networking.k8s.io/v1' }), path)
})
