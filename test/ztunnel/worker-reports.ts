// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { DownMessage } from '../../ztunnel/worker-messages.ts'
import { WorkerQuestions } from '../../ztunnel/worker-reports.ts'

function setUp(count: number) {
  const asked: number[] = []
  const broadcast = (message: DownMessage): void => {
    if (message.type === 'report') asked.push(message.request)
  }
  return { asked, questions: new WorkerQuestions({ count, broadcast }) }
}

t.test('questions under way together get their own answers', async (t) => {
  const { asked, questions } = setUp(2)
  const first = questions.ask('certificates')
  const second = questions.ask('tunnels')
  const [one = 0, two = 0] = asked
  questions.onAnswer(1, two, [])
  questions.onAnswer(1, one, [{ identity: 'cart', serialNumber: '7' }])
  questions.onAnswer(0, two, [])
  questions.onAnswer(0, one, [])
  t.same(await first, [
    { worker: 1, answer: [{ identity: 'cart', serialNumber: '7' }] },
    { worker: 0, answer: [] },
  ])
  t.same(await second, [
    { worker: 1, answer: [] },
    { worker: 0, answer: [] },
  ])
})

t.test('who does not answer in time is left out, and heard no more', async (t) => {
  const { asked, questions } = setUp(2)
  const got = questions.ask('connections')
  questions.onAnswer(0, asked[0] ?? 0, [])
  t.same(await got, [{ worker: 0, answer: [] }])
  questions.onAnswer(1, asked[0] ?? 0, [])
  t.equal((await got).length, 1)
})
