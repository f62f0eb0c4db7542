// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { UPSTREAM_MIN_RETRIES } from '../../../waypoint/upstream/limits.ts'
import { RetryPlace } from '../../../waypoint/upstream/retry-allowance.ts'
import { DEFAULT_RETRY_POLICY } from '../../../waypoint/upstream/retry-policy.ts'
import { get } from '../../support/http1-pair.ts'
import { endpoint, OK_EMPTY, type Opened, policy, UpstreamLab, view } from '../../support/upstream-lab.ts'

const two = [endpoint('a'), endpoint('b', { ip: '10.0.0.2' })]

t.test('nobody is there: refused at the end of the turn, and served once somebody is', async (t) => {
  const lab = new UpstreamLab(view([]))
  const early = lab.ask()
  t.equal(early.outcomes, 0)
  lab.run()
  t.same([early.code, early.refusedBy], ['NO_ENDPOINT', null])
  lab.cluster.update(view([endpoint('a')]))
  const late = lab.open()
  lab.dial(0).accept().send(OK_EMPTY)
  t.equal(late.status, '200')
  t.same(lab.leftovers(), [])
})

t.test(
  'requests that wait for an endpoint that goes move to another; when all go they are refused',
  async (t) => {
    const lab = new UpstreamLab(view([endpoint('a')]))
    const [first, second] = [lab.open(), lab.open()]
    lab.cluster.update(view([endpoint('b')]))
    t.equal(first.outcomes, 0, 'not inside the call')
    lab.run()
    t.same(
      lab.dials.map((dial) => [dial.endpoint.key, dial.isCancelled]),
      [
        ['a', true],
        ['a', true],
        ['b', false],
        ['b', false],
      ],
    )
    const server = lab.dial(2).accept()
    t.equal(first.key, 'b')
    lab.cluster.update(view([]))
    lab.run()
    t.same([second.code, second.outcomes], ['NO_ENDPOINT', 1])
    server.send(OK_EMPTY)
    t.equal(first.status, '200', 'what runs goes on')
    lab.cluster.update(view([endpoint('b')]))
    lab.open()
    t.equal(lab.dials.length, 5, 'its connections went with it')
    t.same(lab.leftovers(), [])
  },
)

t.test('endpoints that change all the time refuse a request in the end', async (t) => {
  const lab = new UpstreamLab(view([endpoint('e0')]))
  const waiting = lab.open()
  for (let i = 1; waiting.outcomes === 0 && i < 100; i++) {
    lab.cluster.update(view([endpoint(`e${i}`)]))
    lab.run()
  }
  t.equal(waiting.code, 'ENDPOINT_GONE')
  t.same(lab.leftovers(), [])
})

t.test('an endpoint that stays keeps its connections, and one that goes finishes what runs', async (t) => {
  const lab = new UpstreamLab(view([endpoint('a')]))
  lab.open()
  const server = lab.dial(0).accept()
  server.send(OK_EMPTY)
  lab.cluster.update(view([endpoint('a', { weight: 7, labels: { v: '2' } }), endpoint('b')]))
  const again = lab.open({ stickyKey: 'a' })
  t.equal(again.exchange?.isReused, true)
  t.equal(again.exchange?.endpoint.weight, 7)
  lab.cluster.update(view([endpoint('b')]))
  t.equal(lab.cluster.status().draining.length, 1)
  server.send(OK_EMPTY)
  t.equal(again.status, '200')
  server.end()
  t.equal(lab.cluster.status().draining.length, 0)
  t.same(lab.leftovers(), [])
})

t.test('an endpoint whose address changes is another one', async (t) => {
  for (const changed of [
    { ip: '10.9.9.9' },
    { port: 81 },
    { protocol: 'HBONE' as const },
    { identity: 'spiffe://x' },
  ]) {
    const lab = new UpstreamLab(view([endpoint('a')]))
    lab.open()
    lab.dial(0).accept().send(OK_EMPTY)
    lab.cluster.update(view([endpoint('a', changed)]))
    lab.open()
    t.equal(lab.dials.length, 2, Object.keys(changed).join())
    t.same(lab.leftovers(), [])
  }
})

t.test('who was tried is tried again only when there is nobody else', async (t) => {
  const lab = new UpstreamLab(view(two))
  lab.open({ exclude: new Set(['a']) })
  t.equal(lab.dial(0).endpoint.key, 'b')
  lab.open({ exclude: new Set(['a', 'b']) })
  t.equal(lab.dials.length, 2)
  t.same(lab.leftovers(), [])
})

t.test('a session stays with its endpoint, as long as that is in use', async (t) => {
  const outlier = { consecutive5xx: 1, maxEjectionPercent: 100 }
  const lab = new UpstreamLab(view(two, { policy: policy({ outlier }) }))
  for (let i = 0; i < 5; i++) lab.open({ stickyKey: 'b' })
  t.same([...new Set(lab.dials.map((dial) => dial.endpoint.key))], ['b'])
  lab.open({ stickyKey: 'b', exclude: new Set(['b']) })
  t.equal(lab.dials.at(-1)?.endpoint.key, 'a')
  lab.dial(0).refuse()
  lab.open({ stickyKey: 'b' })
  t.equal(lab.dials.at(-1)?.endpoint.key, 'a', 'it was ejected')
  lab.open({ stickyKey: 'gone' })
  t.same(lab.leftovers(), [])
})

t.test('a key keeps its endpoint', async (t) => {
  const hash = {
    key: { case: 'header', value: 'X-User' },
    table: { case: 'maglevSize', value: 101n },
  } as const
  const lab = new UpstreamLab(view(two, { policy: policy({ balancing: { hash } }) }))
  t.same(lab.cluster.hashSource, { kind: 'header', name: 'x-user' })
  for (let i = 0; i < 20; i++) lab.open({ hash: 'somebody' })
  t.equal(new Set(lab.dials.map((dial) => dial.endpoint.key)).size, 1)
  for (let i = 0; i < 20; i++) lab.open({ hash: `user ${i}` })
  t.equal(new Set(lab.dials.map((dial) => dial.endpoint.key)).size, 2)
  t.same(lab.leftovers(), [])
})

t.test('an endpoint that fails is ejected, comes back, and is never the last', async (t) => {
  const outlier = {
    ...{ consecutive5xx: 3, maxEjectionPercent: 100 },
    ...{ interval: { seconds: 1n }, baseEjection: { seconds: 5n } },
  }
  const lab = new UpstreamLab(view(two, { policy: policy({ outlier }) }))
  const states = () => lab.cluster.status().endpoints.map(({ state }) => state)
  const fail = (key: string): void => {
    const opened = lab.open({ stickyKey: key })
    for (const dial of lab.dials.slice(-2)) dial.refuse()
    t.equal(opened.refusedBy?.key, key)
  }
  for (let i = 0; i < 3; i++) fail('a')
  t.same(states(), ['ejected', 'in-use'])
  t.equal(lab.cluster.status().ejectionCount, 1)
  for (let i = 0; i < 10; i++) lab.open().handle?.cancel()
  t.same([...new Set(lab.dials.slice(3).map((dial) => dial.endpoint.key))], ['b'])
  for (let i = 0; i < 10; i++) fail('b')
  t.same(states(), ['ejected', 'in-use'], 'the last one stays')
  t.ok((lab.cluster.status().endpoints[0]?.ejectedForMs ?? 0) > 4_000)
  lab.scheduler.advance(5_500)
  t.same(states(), ['in-use', 'in-use'])
  t.same(lab.leftovers(), [])
})

t.test('answers of 5xx count, and what it says of gRPC; the policy can be taken back', async (t) => {
  const rules = policy({ outlier: { consecutive5xx: 2, maxEjectionPercent: 100 } })
  const lab = new UpstreamLab(view(two, { policy: rules }))
  for (let i = 0; i < 2; i++) {
    lab.open({ stickyKey: 'a' })
    const server = lab.dials.at(-1)?.accept()
    server?.send('HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    server?.end()
  }
  t.same(
    lab.cluster.status().endpoints.map(({ state }) => state),
    ['ejected', 'in-use'],
  )
  lab.cluster.update(view(two))
  t.same(
    lab.cluster.status().endpoints.map(({ state }) => state),
    ['in-use', 'in-use'],
  )
  t.same(lab.leftovers(), [])
})

t.test('when the others go, the ejected one that is left comes back', async (t) => {
  const rules = policy({ outlier: { consecutive5xx: 1, maxEjectionPercent: 100 } })
  const lab = new UpstreamLab(view(two, { policy: rules }))
  lab.open({ stickyKey: 'a' })
  lab.dial(0).refuse()
  t.equal(lab.cluster.status().endpoints[0]?.state, 'ejected')
  lab.cluster.update(view([endpoint('a')], { policy: rules }))
  t.equal(lab.cluster.status().endpoints[0]?.state, 'in-use')
  t.same(lab.leftovers(), [])
})

t.test('retries have places: a few, or a fifth of what is under way, or what the policy says', async (t) => {
  const lab = new UpstreamLab(view(two))
  const facts = { attempts: 1, canReplay: true, isAnswerStarted: false, isIdempotent: false }
  const take = () => {
    const retry = lab.cluster.retry(DEFAULT_RETRY_POLICY, { kind: 'connect-failure' }, facts)
    return typeof retry === 'string' ? retry : retry.place
  }
  const places = Array.from({ length: UPSTREAM_MIN_RETRIES }, take)
  t.ok(places.every((place) => typeof place !== 'string'))
  t.equal(take(), 'allowance')
  t.equal(lab.cluster.retry(DEFAULT_RETRY_POLICY, { kind: 'timeout' }, facts), 'not-asked')
  t.equal(lab.cluster.status().retryOverflowCount, 1, 'what nobody asked for is none')
  const giveBack = (place: string | RetryPlace | undefined) => typeof place === 'object' && place.giveBack()
  giveBack(places[0])
  giveBack(places[0])
  const again = take()
  t.type(again, RetryPlace)
  t.equal(take(), 'allowance')
  lab.cluster.update(view(two, { policy: policy({ pool: { maxRetries: 1 } }) }))
  giveBack(again)
  t.equal(take(), 'allowance', 'two are held, one is allowed')
  for (const place of places) giveBack(place)
  t.same(lab.leftovers(), [])
})

t.test('limits hold for all workers together, and each worker may have one connection', async (t) => {
  const gauges = new SharedArrayBuffer(64)
  const facts = { gauges, policy: policy({ pool: { maxConnections: 1, maxPendingRequests: 2 } }) }
  const [one, other] = [new UpstreamLab(view(two, facts)), new UpstreamLab(view(two, facts))]
  one.open({ stickyKey: 'a' })
  other.open({ stickyKey: 'a' })
  t.same([one.dials.length, other.dials.length], [1, 1])
  t.equal(one.open().code, 'UPSTREAM_OVERFLOW')
  one.dial(0).accept()
  const third = one.open({ stickyKey: 'a' })
  t.same([third.code, one.dials.length], ['', 1])
  one.cluster.update(view(two, { ...facts, gauges: new SharedArrayBuffer(64) }))
  t.equal(other.cluster.status().connections, 1, 'it took its own along')
  t.same([...one.leftovers(), ...other.leftovers()], [])
})

t.test('the version follows the application, the policy and the request', async (t) => {
  const upgrade = policy({ pool: { h2Upgrade: 2 } })
  t.equal(new UpstreamLab(view(two)).cluster.versionFor('http2', false), 'http2')
  t.equal(new UpstreamLab(view(two, { policy: upgrade })).cluster.versionFor('http1', false), 'http2')
})

t.test('a drained cluster refuses what waits and comes, and finishes what runs', async (t) => {
  const lab = new UpstreamLab(view([endpoint('a')]))
  const running = lab.open()
  const server = lab.dial(0).accept()
  const waiting = lab.open()
  lab.cluster.drain({ code: 'DRAIN', detail: 'going' })
  lab.cluster.update(view(two))
  const late = lab.open()
  t.same([waiting.code, late.code], ['DRAIN', 'DRAIN'])
  server.send(OK_EMPTY)
  t.equal(running.status, '200')
  t.ok(server.record.events.includes('end'))
  t.same(lab.leftovers(), [])
})

t.test(
  'whatever happens in whatever order: one outcome each, limits kept, nothing left behind',
  async (t) => {
    const limits = { maxConnections: 3, maxPendingRequests: 4, maxRequests: 2, maxRequestsPerConnection: 3 }
    const rules = policy({ pool: limits, outlier: { consecutive5xx: 2, maxEjectionPercent: 60 } })
    const keys = ['a', 'bb', 'ccc']
    const step = fc.record({
      what: fc.constantFrom(
        ...(['open', 'open', 'open2', 'accept', 'accept', 'refuse', 'answer', 'answer', 'fail'] as const),
        ...(['end', 'reset', 'cancel', 'update', 'time'] as const),
      ),
      index: fc.nat(20),
    })
    const run = (steps: ReadonlyArray<{ readonly what: string; readonly index: number }>): boolean => {
      const sets = keys.map((_, i) =>
        view(
          keys.slice(i).map((key) => endpoint(key)),
          { policy: rules },
        ),
      )
      const nobody = view([], { policy: rules })
      const lab = new UpstreamLab(
        view(
          keys.map((key) => endpoint(key)),
          { policy: rules },
        ),
      )
      const opened: Opened[] = []
      const cancelled = new Set<Opened>()
      const servers: ReturnType<ReturnType<UpstreamLab['dial']>['accept']>[] = []
      const answered = new Set<number>()
      const at = <T>(list: readonly T[], index: number): T | undefined =>
        list[index % Math.max(1, list.length)]
      for (const { what, index } of steps) {
        const dial = lab.dials.findIndex((each, i) => i >= index % 3 && !answered.has(i) && !each.isCancelled)
        if (what === 'open') opened.push(lab.open({ headers: get(`/${opened.length}`) }))
        if (what === 'open2') opened.push(lab.ask({ version: 'http2' }))
        if ((what === 'accept' || what === 'refuse') && dial >= 0) {
          answered.add(dial)
          const found = lab.dial(dial)
          if (what === 'refuse') found.refuse()
          else if (found.endpoint.key !== 'ccc') servers.push(found.accept())
          else
            found.acceptHttp2({ maxConcurrentStreams: 2 }).says.onAccept = (s) =>
              s.sendHeaders([':status', '200'], true)
        }
        if (what === 'answer') at(servers, index)?.send(OK_EMPTY)
        if (what === 'fail') at(servers, index)?.send('HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\n')
        if (what === 'end') at(servers, index)?.end()
        if (what === 'reset') at(servers, index)?.reset()
        if (what === 'update') lab.cluster.update(at([...sets, nobody], index) ?? nobody)
        if (what === 'time') lab.scheduler.advance(index * 1_000)
        const victim = at(opened, index)
        if (what === 'cancel' && victim !== undefined && victim.outcomes === 0) {
          victim.handle?.cancel()
          cancelled.add(victim)
        }
        lab.run()
        const { pending, requests, connections } = lab.cluster.status()
        if (pending > 4 || requests > 2 || pending < 0 || requests < 0 || connections < 0) return false
      }
      const left = lab.leftovers()
      const isOne = opened.every((each) => each.outcomes === (cancelled.has(each) ? 0 : 1))
      const isEnded = opened.every(({ stream, record }) => stream === null || record.reason !== null)
      return left.length === 0 && isOne && isEnded
    }
    fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), run), { numRuns: 400 })
    t.pass()
  },
)
