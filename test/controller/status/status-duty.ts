// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { STATUS_DUTY, statusDuty } from '../../../controller/status/status-duty.ts'
import { ApiError } from '../../../mesh/kubernetes/client.ts'
import { openLog } from '../../../mesh/runtime/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { StatusApiFake } from '../../support/status-api.ts'
import { policiesYaml } from '../../support/status-policies.ts'
import { StatusWorld } from '../../support/status-view.ts'
import { SETTINGS } from '../../support/translated.ts'
import { parseObjects } from '../../support/yaml-objects.ts'

const TURNS = 20 // a write is a few turns of the loop
const STEP_MS = 50

interface Report {
  readonly isRunning: boolean
  readonly pending: number
  readonly counts: Readonly<Record<string, number>>
  readonly failures: readonly { readonly object: string; readonly reason: string; readonly retryMs: number }[]
  readonly wanted: readonly object[]
  readonly recent: readonly object[]
}

function openLab(t: Test, count = 3) {
  const world = new StatusWorld(policiesYaml(count))
  const api = new StatusApiFake(world)
  const clock = new ManualClock()
  const lab = { fence: '1' as string | null, isRemoved: false }
  const open = () => {
    const isRemoved = async (): Promise<boolean> => lab.isRemoved
    const times = { clock, monotonicMs: () => clock.passedMs, random: () => 0.5 }
    const options = { settings: SETTINGS, ...times, isRemoved }
    const duty = statusDuty({ ...options, mesh: world, api, log: openLog('silent') })
    t.teardown(() => duty.stop())
    return duty
  }
  const duty = open()
  /** Lets so much time pass, step by step. */
  const pass = async (ms: number): Promise<void> => {
    for (let passedMs = 0; passedMs <= ms; passedMs += STEP_MS) {
      for (let at = 0; at < TURNS; at++) await turn()
      if (passedMs < ms) clock.advance(STEP_MS)
    }
  }
  const report = (): Report => duty.report?.() as Report // as: what read() gives
  const start = (which = duty): void => which.start(() => lab.fence)
  return { world, api, clock, lab, duty, open, pass, report, start }
}

t.test('everything is written once, then nothing, until something changes', async (t) => {
  const { world, api, duty, pass, report, start } = openLab(t)
  t.equal(duty.name, STATUS_DUTY)
  t.equal(report().isRunning, false)
  start()
  await pass(1000)
  t.equal(api.writes.length, 3)
  await pass(120_000)
  t.equal(api.requests.length, 6, 'not even looked at again')
  t.match(report(), { isRunning: true, pending: 0, counts: { written: 3, equal: 0, failed: 0 } })
  t.same([report().wanted.length, report().recent.length], [3, 3])
  const [policy] = parseObjects(policiesYaml(1, true))
  if (policy === undefined) throw new Error('no policy')
  const status = world.objects.get('AuthorizationPolicy.security.istio.io', 'shop', 'p0')?.status ?? {}
  world.change({ ...policy, status, metadata: { ...policy.metadata, generation: 2 } })
  await pass(1000)
  t.same(api.writes.slice(3), ['PUT shop/authorizationpolicies/p0'])
  const { conditions } =
    world.objects.get('AuthorizationPolicy.security.istio.io', 'shop', 'p0')?.status ?? {}
  t.match(conditions, { 0: { status: 'False', reason: 'RefusedNeedsL7', observedGeneration: 2 } })
})

t.test('a watch that is late does not make it write twice', async (t) => {
  const { world, api, pass, start } = openLab(t, 1)
  api.isWatched = false
  start()
  await pass(1000)
  world.change()
  await pass(120_000)
  t.equal(api.requests.length, 2)
})

t.test('the last leader takes back what it has said, and only it', async (t) => {
  const { world, api, lab, duty, pass, start } = openLab(t)
  const said = (): number => world.all().filter(({ status }) => status.conditions !== undefined).length
  start()
  await pass(1000)
  t.equal(said(), 3)
  lab.isRemoved = true
  lab.fence = null
  await duty.stop()
  t.equal(api.writes.length, 3, 'another one leads')
  lab.fence = '2'
  start()
  await pass(1000)
  await duty.stop()
  t.equal(api.writes.length, 6)
  t.equal(said(), 0)
})

t.test('another leader finds all as it should be', async (t) => {
  const { api, lab, duty, open, pass, start } = openLab(t)
  start()
  await pass(1000)
  await duty.stop()
  lab.fence = '2'
  start(open())
  await pass(5000)
  t.equal(api.requests.length, 6)
})

t.test('who does not lead any more, or has stopped, writes nothing', async (t) => {
  const { world, api, lab, duty, pass, report, start } = openLab(t)
  lab.fence = null
  start()
  await pass(1000)
  t.same(api.requests, [])
  await duty.stop()
  lab.fence = '1'
  world.change()
  await pass(120_000)
  t.same(api.requests, [])
  t.equal(world.listenerCount, 0)
  api.fault = ({ method }) => {
    if (method === 'GET') lab.fence = null
  }
  start()
  await pass(1000)
  t.same(api.writes, [], 'it slept through its end while it looked')
  t.equal(report().counts.fenced, 1)
})

t.test('before the first translation nothing is said', async (t) => {
  const { world, api, pass, start } = openLab(t)
  world.isTranslated = false
  start()
  await pass(1000)
  t.same(api.requests, [])
  world.isTranslated = true
  world.change()
  await pass(1000)
  t.equal(api.writes.length, 3)
})

t.test('no more than so many per second', async (t) => {
  const { api, pass, start } = openLab(t, 120)
  start()
  await pass(0)
  t.equal(api.writes.length, 50, 'a burst')
  await pass(2400)
  t.equal(api.writes.length, 50, 'then a pause, so that they are translated together')
  await pass(300)
  t.equal(api.writes.length, 100, 'which lasts as long as twenty per second do')
  await pass(3000)
  t.equal(api.writes.length, 120)
})

t.test('what changes while many wait comes first', async (t) => {
  const { world, api, pass, start } = openLab(t, 200)
  start()
  await pass(1000)
  const [policy] = parseObjects(policiesYaml(200, true)).slice(-1)
  if (policy === undefined) throw new Error('no policy')
  world.change({ ...policy, metadata: { ...policy.metadata, generation: 2 } })
  await pass(3000)
  t.equal(api.writes.indexOf('PUT shop/authorizationpolicies/p199'), 50, 'in the next burst')
})

t.test('no answer, 429 and 5xx stop all of them for a while, longer each time', async (t) => {
  for (const [cause, reloads] of [
    [new Error('no answer'), true],
    [new ApiError(401, 'no'), true],
    [new ApiError(503, 'no'), false],
  ] as const) {
    const { api, pass, report, start } = openLab(t)
    api.fault = () => {
      throw cause
    }
    start()
    await pass(60_000)
    t.ok(api.requests.length >= 5 && api.requests.length <= 9, `${cause.message} ${api.requests.length}`)
    t.match(report().failures, {
      0: { reason: cause.message === 'no' && reloads ? 'APISERVER_DENIED' : 'APISERVER_UNAVAILABLE' },
    })
    t.equal(api.reloads > 0, reloads)
    api.fault = () => undefined
    await pass(31_000)
    t.equal(api.writes.length, 3)
    t.same(report().failures, [])
  }
  const { api, pass, start } = openLab(t)
  api.fault = () => {
    throw new ApiError(429, 'slow', 20_000)
  }
  start()
  await pass(19_000)
  t.equal(api.requests.length, 1, 'as long as it was asked to')
})

t.test('what is refused for one object does not keep up the others', async (t) => {
  const { world, api, pass, report, start } = openLab(t)
  api.fault = ({ method, path }) => {
    if (method === 'PUT' && path.includes('/p1/')) throw new ApiError(422, 'too many conditions')
  }
  start()
  await pass(1000)
  t.match(report(), { pending: 1, counts: { written: 2, failed: 1 } })
  t.match(report().failures, { 0: { object: /p1/, reason: 'STATUS_REFUSED', retryMs: 300_000 } })
  const before = api.requests.length
  world.change()
  await pass(60_000)
  t.equal(api.requests.length, before, 'it is not asked again and again')
  await pass(300_000)
  t.equal(report().counts.failed, 2)
})

t.test('two that write against each other do so less and less often', async (t) => {
  const { world, api, pass, start } = openLab(t, 1)
  start()
  await pass(0)
  const spoil = (): void => {
    for (const object of world.all()) world.change({ ...object, status: { conditions: [] } })
  }
  for (let at = 0; at < 100; at++) {
    spoil()
    await pass(100)
  }
  t.ok(api.writes.length >= 3 && api.writes.length <= 5, String(api.writes.length))
})

t.test('a configuration that cannot be computed is looked at again', async (t) => {
  const { world, api, pass, start } = openLab(t)
  const { translation } = world
  Object.defineProperty(world, 'translation', {
    configurable: true,
    get: () => {
      throw new Error('a defect')
    },
  })
  start()
  await pass(1000)
  t.same(api.requests, [])
  Object.defineProperty(world, 'translation', { configurable: true, writable: true, value: translation })
  await pass(61_000)
  t.equal(api.writes.length, 3)
})
