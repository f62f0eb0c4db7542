// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { refuse } from '../../../mesh/errors/refusal.ts'
import { ManualScheduler } from '../../../mesh/reactor/memory-pair.ts'
import { TokenRuleSchema } from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { KnownTokens } from '../../../waypoint/carry/known-tokens.ts'
import { MAX_WAITING } from '../../../waypoint/carry/limits.ts'
import {
  MAX_TOKEN_CHARS,
  MAX_TOKEN_MEMORY_BYTES,
  MAX_TOKEN_QUESTIONS,
  TOKEN_DEADLINE_MS,
} from '../../../waypoint/tokens/limits.ts'
import type { TokenVerdict } from '../../../waypoint/tokens/token-verifier.ts'

const rule = (issuer: string) => create(TokenRuleSchema, { issuer })
const RULES = [rule('i')]
const believed = (sub: string, keptMs = 1000): TokenVerdict => ({
  refusal: null,
  rule: 0,
  claims: { sub },
  keptMs,
})

function setUp() {
  const scheduler = new ManualScheduler()
  const asked: { key: string; token: string }[] = []
  const heard: string[] = []
  const tokens = new KnownTokens(scheduler, (key, token) => asked.push({ key, token }))
  const ask = (token: string, rules = RULES): void =>
    tokens.verify(token, rules, ({ refusal, claims }) => heard.push(refusal?.code ?? String(claims.sub)))
  const answer = (verdict: TokenVerdict): void => tokens.learn(asked.shift()?.key ?? '', verdict)
  return { scheduler, asked, heard, tokens, ask, answer }
}

t.test('a text is asked about once, and known until its verdict ends', async (t) => {
  const { scheduler, asked, heard, ask, answer } = setUp()
  ask('a')
  ask('a')
  t.same([asked.length, heard], [1, []])
  answer(believed('ann'))
  ask('a')
  t.same([asked.length, heard], [0, ['ann', 'ann', 'ann']])
  scheduler.advance(1000)
  ask('a')
  t.same([asked.length, heard.length], [1, 3])
})

t.test('under other rules it is another question', async (t) => {
  const { asked, ask, answer } = setUp()
  ask('a')
  answer(believed('ann'))
  ask('a', [rule('i')])
  t.equal(asked.length, 0, 'the same rules, told again')
  ask('a', [rule('j')])
  ask('a', [rule('i'), rule('j')])
  t.equal(asked.length, 2)
})

t.test('a refusal is remembered too, for as long as it says', async (t) => {
  const { asked, heard, ask, answer } = setUp()
  const refusal = refuse('JWT_INVALID', '')
  ask('a')
  answer({ refusal, rule: -1, claims: {}, keptMs: 1000 })
  ask('a')
  ask('b')
  answer({ refusal, rule: -1, claims: {}, keptMs: 0 })
  ask('b')
  t.same([heard, asked.length], [['JWT_INVALID', 'JWT_INVALID', 'JWT_INVALID'], 1])
})

t.test(
  'who gets no answer in time is refused, and an answer that comes too late changes nothing',
  async (t) => {
    const { scheduler, asked, heard, ask, answer } = setUp()
    ask('a')
    scheduler.advance(TOKEN_DEADLINE_MS + 10)
    t.same(heard, ['JWT_UNVERIFIABLE'])
    answer(believed('ann'))
    ask('a')
    t.equal(asked.length, 1)
  },
)

t.test('texts, questions and who waits have limits', async (t) => {
  const { asked, heard, ask, answer } = setUp()
  ask('x'.repeat(MAX_TOKEN_CHARS + 1))
  t.same([heard.splice(0), asked.length], [['JWT_INVALID'], 0])
  for (let i = 0; i <= MAX_WAITING; i++) ask('a')
  t.same(heard.splice(0), ['JWT_UNVERIFIABLE'])
  for (let i = 1; i <= MAX_TOKEN_QUESTIONS; i++) ask(`t${i}`)
  t.same([heard.splice(0), asked.length], [['JWT_UNVERIFIABLE'], MAX_TOKEN_QUESTIONS])
  answer(believed('ann'))
  ask('one more')
  t.equal(asked.length, MAX_TOKEN_QUESTIONS)
})

t.test('what was used longest ago is forgotten when memory is short', async (t) => {
  const { asked, ask, answer } = setUp()
  const text = (index: number): string => `${index}`.padEnd(MAX_TOKEN_CHARS, 'x')
  const count = MAX_TOKEN_MEMORY_BYTES / MAX_TOKEN_CHARS
  for (let i = 0; i < count; i++) {
    ask(text(i))
    answer(believed('ann'))
  }
  ask(text(0))
  t.equal(asked.length, 0, 'all are known')
  ask(text(count))
  answer(believed('ann'))
  ask(text(0))
  t.equal(asked.length, 0, 'used just now')
  ask(text(1))
  t.equal(asked.length, 1)
})
