// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal, type Refusal, refuse } from '../../../mesh/errors/refusal.ts'
import { ManualScheduler } from '../../../mesh/reactor/memory-pair.ts'
import { type NameVerdict, NameVerdicts } from '../../../ztunnel/dns/name-verdicts.ts'

const OURS: NameVerdict = [{ kind: 'A', name: null, bytes: Uint8Array.of(10, 96, 0, 1) }]

function open() {
  const scheduler = new ManualScheduler()
  const asked: string[] = []
  const heard: (NameVerdict | Refusal)[] = []
  const names = new NameVerdicts(scheduler, (name, queryType) => asked.push(`${queryType} ${name}`))
  const waiter = { onVerdict: (verdict: NameVerdict | Refusal) => void heard.push(verdict) }
  return { scheduler, asked, heard, names, waiter }
}

t.test('a name is asked for once, whoever waits, and then known', async (t) => {
  const { asked, heard, names, waiter } = open()
  t.equal(names.get('cart', 1), undefined)
  t.equal(names.request('cart', 1, waiter), null)
  t.equal(names.request('cart', 1, waiter), null)
  t.equal(names.request('cart', 28, waiter), null)
  t.same(asked, ['1 cart', '28 cart'])
  names.learn('cart', 1, OURS)
  t.same(heard, [OURS, OURS])
  names.learn('cart', 28, null)
  t.same(heard, [OURS, OURS, null])
  t.equal(names.get('cart', 1), OURS)
  t.equal(names.get('cart', 28), null)
  names.invalidate()
  t.equal(names.get('cart', 1), undefined)
})

t.test('who asks for everything is refused, and nothing of it stays', async (t) => {
  const { scheduler, asked, heard, names, waiter } = open()
  const outcomes = Array.from({ length: 300 }, (_, index) => names.request(`n${index}`, 1, waiter))
  t.equal(asked.length, 256)
  t.match(outcomes[256], { kind: 'refusal', code: 'LIMIT_POD' })
  const more = Array.from({ length: 900 }, () => names.request('n0', 1, waiter))
  t.equal(more.filter(isRefusal).length, 900 - (1024 - 256), 'also those who wait for one name')
  scheduler.advance(5100)
  t.equal(heard.length, 1024)
  t.ok(heard.every((verdict) => isRefusal(verdict) && verdict.code === 'MODEL_TIMEOUT'))
  t.equal(names.request('n0', 1, waiter), null, 'there is room again')
  names.close(refuse('ENDPOINT_GONE', 'gone'))
  t.match(heard.at(-1), { code: 'ENDPOINT_GONE' })
  t.equal(heard.length, 1025)
})

t.test('the names asked for least lately are forgotten first', async (t) => {
  const { names } = open()
  names.learn('kept', 1, OURS)
  names.learn('lost', 1, OURS)
  for (let index = 0; index < 1023; index++) {
    t.equal(names.get('kept', 1), OURS)
    names.learn(`n${index}`, 1, null)
  }
  t.equal(names.get('kept', 1), OURS)
  t.equal(names.get('lost', 1), undefined)
})
