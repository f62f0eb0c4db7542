// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino'
import t from 'tap'
import { isMap, type RawMap } from '../../../../mesh/kubernetes/raw-map.ts'
import { PodEvents } from '../../../../ztunnel/supervisor/enroll/pod-events.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const podOf = (uid: string) => ({ uid, name: `pod-${uid}`, namespace: 'shop', serviceAccount: 'a' })

function openLab(answer: () => Promise<unknown> = async () => ({})) {
  const clock = new ManualClock()
  const written: { readonly path: string; readonly body: RawMap }[] = []
  const client = {
    create: async (path: string, body: unknown) => {
      written.push({ path, body: isMap(body) ? body : {} })
      return await answer()
    },
  }
  const events = new PodEvents({ client, nodeName: 'n1', clock, log: pino({ level: 'silent' }) })
  return { clock, written, events }
}

t.test('an Event stands at its pod, with the reason and the fix', async (t) => {
  const { events, written } = openLab()
  events.say(podOf('a'), 'EnrolmentFailed', 'MISSING_CAPABILITY', 'NET_ADMIN')
  t.equal(written[0]?.path, '/api/v1/namespaces/shop/events')
  t.match(written[0]?.body, {
    ...{ apiVersion: 'v1', kind: 'Event', type: 'Warning', reason: 'EnrolmentFailed' },
    metadata: { namespace: 'shop', generateName: 'pod-a.' },
    involvedObject: { kind: 'Pod', name: 'pod-a', namespace: 'shop', uid: 'a' },
    message: 'MISSING_CAPABILITY: NET_ADMIN; the process lacks a capability: see the detail',
    source: { component: 'sidestep-ztunnel', host: 'n1' },
    firstTimestamp: '2026-01-01T00:00:00Z',
  })
})

t.test('the same word is not said again for ten minutes', async (t) => {
  const { events, written, clock } = openLab()
  const say = (uid: string): void => events.say(podOf(uid), 'EnrolmentLate', 'ENROLMENT_LATE', '')
  say('a')
  say('a')
  say('b')
  t.equal(written.length, 2)
  clock.advance(599_999)
  say('a')
  t.equal(written.length, 2)
  clock.advance(1)
  say('a')
  t.equal(written.length, 3)
})

t.test('a node does not flood the apiserver', async (t) => {
  const { events, written, clock } = openLab()
  const sayAll = (from: number): void => {
    for (let pod = from; pod < from + 100; pod++)
      events.say(podOf(String(pod)), 'EnrolmentLate', 'ENROLMENT_LATE', '')
  }
  sayAll(0)
  t.equal(written.length, 20)
  clock.advance(5_000)
  sayAll(100)
  t.equal(written.length, 25)
})

t.test('what cannot be written breaks nothing; a long detail is cut', async (t) => {
  const { events, written } = openLab(async () => {
    throw new Error('forbidden')
  })
  events.say(podOf('a'), 'RedirectionMended', 'NOT_ENROLLED', 'x'.repeat(5_000))
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(String(written[0]?.body.message).length, 1024)
})
