// SPDX-License-Identifier: Apache-2.0
// When workers are told of a pod; with real ones: test/netns.
import { fstatSync, openSync } from 'node:fs'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { openLog } from '../../mesh/runtime/log.ts'
import { ServedPods, type ServedPodsOptions } from '../../ztunnel/served-pods.ts'

const NOTHING = (): void => {}
const POD = { uid: 'u', name: 'cart', namespace: 'shop', serviceAccount: 'cart' }

/** Without configuration or certificates, which is what a pod waits for. */
function unprepared(
  t: Test,
  isAlone: () => boolean,
  count = 1,
): { readonly told: () => number; readonly posted: string[]; readonly pods: ServedPods } {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const told: string[] = []
  const posted: string[] = []
  const pods = new ServedPods({
    workers: {
      count,
      accounts: { open: () => new SharedArrayBuffer(0), close: NOTHING },
      streamSlots: { prepare: NOTHING },
      post: (worker, { type }) => posted.push(`${worker} ${type}`),
      broadcast: ({ type }) => told.push(type),
    },
    model: { state: null },
    isAlone,
    log: openLog('fatal'),
    send: NOTHING,
  } as Partial<ServedPodsOptions> as ServedPodsOptions) // as: nothing else is asked before there is a model
  pods.add({ type: 'pod-added', pod: POD, listeners: [], sharesHost: true }, [])
  return { told: () => told.filter((type) => type === 'pod').length, posted, pods }
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

t.test('sockets that no worker uses any more are closed, and its namespace is kept', async (t) => {
  const files = ['/proc/self/ns/net', '/dev/null', '/dev/zero'].map((path) => openSync(path, 'r'))
  const { pods } = unprepared(t, () => true, 2)
  pods.add(
    { type: 'pod-added', pod: { ...POD, uid: 'v' }, listeners: ['outbound', 'inbound'], sharesHost: false },
    files,
  )
  const areOpen = (): boolean[] =>
    files.map((fd) => {
      try {
        return fstatSync(fd) !== null
      } catch {
        return false
      }
    })
  pods.onSocketsLeft('another', 0)
  pods.onSocketsLeft('v', 0)
  pods.onSocketsLeft('v', 0)
  t.same(areOpen(), [true, true, true], 'the other worker has not said so')
  // It dies before it has, and nobody comes after it that has them: this process drains.
  pods.introduceIdle(1)
  t.same(areOpen(), [true, false, false])
  t.equal(pods.socketsOf('v')?.listeners.size, 0)
})

t.test('a worker that takes the place of another is told of pods that leave', async (t) => {
  const { pods, posted } = unprepared(t, () => true, 2)
  mock.timers.tick(5000)
  const introduced = (): string[] => {
    pods.introduce(1)
    return posted.splice(0)
  }
  t.same(introduced(), ['1 policies', '1 pod'])
  pods.letGo(POD.uid)
  t.same(introduced(), ['1 policies', '1 pod', '1 pod-leaving'])
  pods.takeBack(POD.uid)
  t.same(introduced(), ['1 policies', '1 pod'])
})
