// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino'
import t from 'tap'
import { ApiError } from '../../../../mesh/kubernetes/client.ts'
import { RedirectionTeller } from '../../../../ztunnel/supervisor/enroll/redirection-teller.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const podOf = (uid: string) => ({ uid, name: `pod-${uid}`, namespace: 'shop', serviceAccount: 'a' })

function openLab() {
  const clock = new ManualClock()
  const asked: { readonly path: string; readonly body: unknown; answer: (error?: Error) => void }[] = []
  const client = {
    merge: (path: string, body: unknown) =>
      new Promise<unknown>((resolve, reject) => {
        asked.push({ path, body, answer: (error) => (error === undefined ? resolve({}) : reject(error)) })
      }),
  }
  const log = pino({ level: 'silent' })
  return { clock, asked, teller: new RedirectionTeller({ client, clock, random: () => 0.5, log }) }
}

t.test('a pod is annotated by its uid, through its status', async (t) => {
  const { teller, asked } = openLab()
  const told = teller.tell(podOf('a'), 'enabled')
  t.equal(asked[0]?.path, '/api/v1/namespaces/shop/pods/pod-a/status')
  const annotations = { 'ambient.istio.io/redirection': 'enabled' }
  t.same(asked[0]?.body, { metadata: { uid: 'a', annotations } })
  t.equal(teller.canTell(podOf('a')), false, 'one at a time')
  asked[0]?.answer()
  t.equal(await told, true)
  t.equal(teller.canTell(podOf('a')), true)
})

t.test('a few at once', async (t) => {
  const { teller, asked } = openLab()
  const all = Array.from({ length: 8 }, (_, index) => teller.tell(podOf(String(index)), null))
  t.equal(teller.canTell(podOf('x')), false)
  asked[3]?.answer()
  await all[3]
  t.equal(teller.canTell(podOf('x')), true)
  for (const { answer } of asked) answer()
  await Promise.all(all)
})

t.test('a failure waits longer each time; a pod that is gone is no failure', async (t) => {
  const { teller, asked, clock } = openLab()
  const fail = async (error: Error): Promise<boolean> => {
    const told = teller.tell(podOf('a'), 'enabled')
    asked.at(-1)?.answer(error)
    return await told
  }
  for (const status of [404, 409]) t.equal(await fail(new ApiError(status, 'gone')), true)
  t.equal(teller.canTell(podOf('a')), true)
  for (const waitMs of [200, 400, 800]) {
    t.equal(await fail(new ApiError(403, 'forbidden')), false)
    clock.advance(waitMs - 1)
    t.equal(teller.canTell(podOf('b')), false, `${waitMs} ms for all`)
    clock.advance(1)
    t.equal(teller.canTell(podOf('b')), true)
  }
  t.equal(await fail(new Error('ECONNREFUSED')), false)
  clock.jump(-3_600_000)
  clock.advance(1_600)
  t.equal(teller.canTell(podOf('b')), true, 'also by a clock that was set back')
})
