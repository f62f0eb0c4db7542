// SPDX-License-Identifier: Apache-2.0
// When workers are told of a pod; with real ones: test/netns.
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { openLog } from '../../mesh/runtime/log.ts'
import { ServedPods, type ServedPodsOptions } from '../../ztunnel/served-pods.ts'

const NOTHING = (): void => {}
const POD = { uid: 'u', name: 'cart', namespace: 'shop', serviceAccount: 'cart' }

/** Without configuration or certificates, which is what a pod waits for. */
function unprepared(t: Test, isAlone: () => boolean): { readonly told: () => number } {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const told: string[] = []
  const pods = new ServedPods({
    workers: {
      count: 1,
      accounts: { open: () => new SharedArrayBuffer(0), close: NOTHING },
      streamSlots: { prepare: NOTHING },
      post: NOTHING,
      broadcast: ({ type }) => told.push(type),
    },
    model: { state: null },
    isAlone,
    log: openLog('fatal'),
    send: NOTHING,
  } as Partial<ServedPodsOptions> as ServedPodsOptions) // as: nothing else is asked before there is a model
  pods.add({ type: 'pod-added', pod: POD, listeners: [], sharesHost: true }, [])
  return { told: () => told.filter((type) => type === 'pod').length }
}

t.test('a pod that nobody else serves waits five seconds to be prepared', async (t) => {
  const { told } = unprepared(t, () => true)
  mock.timers.tick(4999)
  t.equal(told(), 0)
  mock.timers.tick(1)
  t.equal(told(), 1)
  mock.timers.tick(60_000)
  t.equal(told(), 1)
})

t.test('one that the process before serves meanwhile waits longer', async (t) => {
  const { told } = unprepared(t, () => false)
  mock.timers.tick(14_999)
  t.equal(told(), 0)
  mock.timers.tick(1)
  t.equal(told(), 1)
})
