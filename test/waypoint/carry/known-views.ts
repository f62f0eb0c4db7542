// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal, type Refusal } from '../../../mesh/errors/refusal.ts'
import { ManualScheduler } from '../../../mesh/reactor/memory-pair.ts'
import { KnownViews } from '../../../waypoint/carry/known-views.ts'
import { MAX_WAITING, RESOLVE_DEADLINE_MS } from '../../../waypoint/carry/limits.ts'

function setUp() {
  const scheduler = new ManualScheduler()
  const asked: string[] = []
  const heard: string[] = []
  const views = new KnownViews<string>(scheduler, (name) => asked.push(name))
  const hear = (answer: string | Refusal): void => {
    heard.push(typeof answer === 'string' ? answer : answer.code)
  }
  return { scheduler, asked, heard, views, hear }
}

t.test('a miss is asked for once, and all who wait hear the answer', async (t) => {
  const { asked, heard, views, hear } = setUp()
  views.request('a', hear)
  views.request('a', (answer) => hear(isRefusal(answer) ? answer : `${answer}2`))
  t.same([asked, heard], [['a'], []])
  views.learn('a', 'A')
  t.same(heard, ['A', 'A2'])
  t.equal(views.get('a'), 'A')
  views.learn('a', 'B')
  t.same([views.get('a'), heard.length], ['B', 2])
})

t.test('what is not kept is asked for again', async (t) => {
  const { asked, heard, views, hear } = setUp()
  views.learn('a', 'A')
  views.request('a', hear)
  views.learn('a', 'none', false)
  t.same([heard, views.get('a')], [['none'], undefined])
  views.request('a', hear)
  t.same(asked, ['a', 'a'])
})

t.test('who waits too long is told so, and who has gone is not', async (t) => {
  const { scheduler, heard, views, hear } = setUp()
  const gone = (): void => void heard.push('gone')
  views.request('a', gone)
  views.request('a', hear)
  views.forget('a', gone)
  scheduler.advance(RESOLVE_DEADLINE_MS + 1)
  t.same(heard, ['MODEL_TIMEOUT'])
})

t.test('no more than so many wait', async (t) => {
  const { scheduler, heard, views, hear } = setUp()
  for (let i = 0; i < MAX_WAITING; i++) views.request('a', () => {})
  views.request('a', hear)
  scheduler.advance(1)
  t.same(heard, ['LIMIT_POD'])
})
