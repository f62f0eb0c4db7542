// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type ConfigObject, refOf } from '../../../controller/watch/config-object.ts'
import { ConfigStore } from '../../../controller/watch/config-store.ts'
import { ManualClock } from '../../support/manual-clock.ts'

function pod(name: string, resourceVersion = '', namespace = 'shop'): ConfigObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...{
        name,
        namespace,
        uid: `uid of ${name}`,
        labels: {},
        annotations: {},
        generation: 0,
        resourceVersion,
      },
      ...{ createdMs: Number.NaN, isDeleting: false, ownerReferences: [] },
    },
    ...{ spec: {}, status: {}, rest: {}, origin: null },
  }
}

class Lab {
  readonly clock = new ManualClock()
  told = 0
  readonly store = new ConfigStore(this.clock, () => this.told++)
  names(): string[] {
    return this.store.list('Pod').map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)
  }
}

t.test('nothing is told before everything was listed', async (t) => {
  const lab = new Lab()
  lab.store.apply(pod('a'))
  lab.clock.advance(10_000)
  t.equal(lab.told, 0)
  t.match(lab.store.state, { isSynced: false, unreachable: null })
  lab.store.synced()
  lab.store.synced()
  t.equal(lab.told, 1)
})

t.test('a burst is told once, soon after its end, or while it lasts', async (t) => {
  const lab = new Lab()
  lab.store.synced()
  for (let index = 0; index < 5; index++) {
    lab.store.apply(pod(`p${index}`))
    lab.clock.advance(40)
  }
  t.equal(lab.told, 1, 'only the first sync so far')
  lab.clock.advance(50)
  t.equal(lab.told, 2)
  for (let index = 0; index < 20; index++) {
    lab.store.apply(pod(`q${index}`))
    lab.clock.advance(40)
  }
  t.ok(lab.told >= 4, 'a burst without end is told while it lasts')
})

t.test('lists are in order, and the same until something changes', async (t) => {
  const lab = new Lab()
  lab.store.replace('Pod', [pod('b'), pod('a', '', 'zoo'), pod('a')])
  t.same(lab.names(), ['shop/a', 'shop/b', 'zoo/a'])
  t.equal(lab.store.list('Pod'), lab.store.list('Pod'))
  lab.store.remove(refOf(pod('b')))
  lab.store.remove(refOf(pod('never')))
  t.same(lab.names(), ['shop/a', 'zoo/a'])
  t.equal(lab.store.get('Pod', 'zoo', 'a')?.metadata.name, 'a')
  t.equal(lab.store.get('Pod', 'zoo', 'b'), undefined)
  t.equal(lab.store.size, 2)
  t.same(lab.store.list('Service'), [])
})

t.test('an object of the same version stays the object it was', async (t) => {
  const lab = new Lab()
  const first = pod('a', '7')
  lab.store.replace('Pod', [first, pod('b', '8')])
  lab.store.synced()
  lab.store.replace('Pod', [pod('a', '7'), pod('b', '8')])
  lab.store.apply(pod('a', '7'))
  lab.clock.advance(1000)
  t.equal(lab.told, 1, 'listing again is no change')
  t.equal(lab.store.get('Pod', 'shop', 'a'), first)
  lab.store.replace('Pod', [pod('a', '9')])
  lab.clock.advance(1000)
  t.equal(lab.told, 2)
  t.not(lab.store.get('Pod', 'shop', 'a'), first)
  t.same(lab.names(), ['shop/a'])
  const unread = { generation: 2, why: 'x' }
  lab.store.apply({ ...pod('a', '9'), unread })
  lab.store.apply({ ...pod('a', '9'), unread })
  lab.clock.advance(1000)
  t.equal(lab.told, 3, 'that a newer one cannot be read is news, once')
})

t.test('mistakes and an absent source are told to people and change nothing else', async (t) => {
  const lab = new Lab()
  lab.store.replace('Pod', [pod('a')])
  lab.store.synced()
  lab.store.reachable('connection refused')
  lab.store.mistakes([
    { severity: 'error', origin: null, path: 'spec', message: 'not a map', suggestion: '' },
  ])
  t.match(lab.store.state, { unreachable: 'connection refused', mistakes: [{ path: 'spec' }] })
  lab.store.reachable(null)
  lab.clock.advance(1000)
  t.equal(lab.store.state.unreachable, null)
  t.equal(lab.told, 1)
  t.same(lab.names(), ['shop/a'])
})
