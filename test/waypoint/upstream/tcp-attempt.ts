// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { refuse } from '../../../mesh/errors/refusal.ts'
import { MAX_TCP_ATTEMPTS, UPSTREAM_CONNECT_TIMEOUT_MS } from '../../../waypoint/upstream/limits.ts'
import { endpoint, policy, UpstreamLab, view } from '../../support/upstream-lab.ts'

const keys = (count: number) =>
  Array.from({ length: count }, (_, i) => endpoint(`e${i}`, { ip: `10.0.0.${i}` }))

t.test('connected to one of the endpoints; it counts until it ends', async (t) => {
  const lab = new UpstreamLab(view(keys(1)))
  const asked = lab.connect()
  t.equal(asked.outcome, '', 'not inside the call')
  lab.run()
  const server = lab.dial(0).accept()
  t.equal(asked.outcome, 'e0')
  t.same([lab.cluster.status().connections, lab.cluster.status().endpoints[0]?.active], [1, 1])
  asked.transport?.end()
  server.end()
  asked.place?.end()
  asked.place?.end()
  t.same([lab.cluster.status().connections, lab.cluster.status().endpoints[0]?.active], [0, 0])
  t.same(lab.leftovers(), [])
})

t.test('who does not answer costs a try, as many as there are endpoints or tries', async (t) => {
  const lab = new UpstreamLab(view(keys(2)))
  const served = lab.connect()
  lab.run()
  lab.dial(0).refuse()
  lab.dial(1).accept()
  t.not(lab.dial(0).endpoint.key, lab.dial(1).endpoint.key)
  t.equal(served.outcome, lab.dial(1).endpoint.key)
  const many = new UpstreamLab(view(keys(9)))
  const refused = many.connect()
  many.run()
  for (let i = 0; i < MAX_TCP_ATTEMPTS; i++) many.dial(i).refuse()
  t.equal(refused.outcome, 'ENDPOINT_REFUSED')
  t.equal(refused.refusedBy?.key, many.dial(MAX_TCP_ATTEMPTS - 1).endpoint.key)
  t.equal(new Set(many.dials.map((dial) => dial.endpoint.key)).size, MAX_TCP_ATTEMPTS)
  const late = many.connect()
  many.scheduler.advance(MAX_TCP_ATTEMPTS * (UPSTREAM_CONNECT_TIMEOUT_MS + 20))
  t.equal(late.outcome, 'CONNECT_TIMEOUT')
  served.place?.end()
  t.same([...lab.leftovers(), ...many.leftovers()], [])
})

t.test('nobody there, a limit of ours, a drained cluster, a caller that went away', async (t) => {
  const outcome = (lab: UpstreamLab): string => {
    const asked = lab.connect()
    lab.run()
    return asked.outcome
  }
  t.equal(outcome(new UpstreamLab(view([]))), 'NO_ENDPOINT')
  const lab = new UpstreamLab(view(keys(2), { policy: policy({ pool: { maxConnections: 1 } }) }))
  const own = lab.connect()
  lab.run()
  t.equal(outcome(lab), 'UPSTREAM_OVERFLOW')
  lab.dial(0).refuse(refuse('OUT_OF_DESCRIPTORS'))
  t.same([own.outcome, own.refusedBy, lab.dials.length], ['OUT_OF_DESCRIPTORS', null, 1])
  const gone = lab.connect()
  lab.run()
  gone.handle?.cancel()
  gone.handle?.cancel()
  t.equal(lab.dial(1).isCancelled, true)
  t.equal(lab.cluster.status().connections, 0)
  lab.dial(1).accept()
  t.equal(gone.outcome, '')
  const early = lab.connect()
  early.handle?.cancel()
  lab.cluster.drain({ code: 'DRAIN', detail: '' })
  t.equal(outcome(lab), 'DRAIN')
  t.equal(early.outcome, '')
  t.same(lab.leftovers(), [])
})

t.test('connects count for outlier detection', async (t) => {
  const rules = policy({ outlier: { consecutive5xx: 2, maxEjectionPercent: 100 } })
  const lab = new UpstreamLab(view(keys(2), { policy: rules }))
  for (let i = 0; lab.cluster.status().ejectionCount === 0 && i < 20; i++) {
    const asked = lab.connect()
    lab.run()
    for (const dial of lab.dials.slice(-1)) {
      if (dial.endpoint.key === 'e0') dial.refuse()
      else dial.accept()
    }
    asked.handle?.cancel()
    asked.place?.end()
  }
  t.same(
    lab.cluster.status().endpoints.map(({ state }) => state),
    ['ejected', 'in-use'],
  )
  t.same(lab.leftovers(), [])
})
