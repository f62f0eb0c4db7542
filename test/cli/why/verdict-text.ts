// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { PairFinding, PairVerdict } from '../../../cli/why/pair-facts.ts'
import { verdictText } from '../../../cli/why/verdict-text.ts'

const FINDING: PairFinding = {
  code: 'POLICY_DENY',
  hop: 'destination',
  where: 'shop/cart',
  detail: 'no-batch matches',
  fix: 'change it',
  policy: 'shop/no-batch',
}
const VERDICT: PairVerdict = {
  outcome: 'allowed',
  code: 'OK',
  source: 'shop/front',
  destination: 'cart:80',
  way: 'goes to 10.2.0.1:15008',
  policy: '',
  reason: 'nothing matches',
  cause: null,
  risks: [],
  silent: [],
}

t.test('a pair that is well has a headline, a reason and a way', async (t) => {
  t.equal(
    verdictText(VERDICT),
    'shop/front -> cart:80: ALLOWED, inside mTLS\n  why  nothing matches\n  way  goes to 10.2.0.1:15008\n',
  )
})

t.test('what stops it, what may, and who was not asked', async (t) => {
  const risk: PairFinding = { ...FINDING, code: 'CONFIG_STALE', hop: 'discovery', where: '', policy: '' }
  const { policy, detail: reason } = FINDING
  const text = verdictText({
    ...VERDICT,
    ...{ outcome: 'refused', code: 'POLICY_DENY', policy, reason, cause: FINDING },
    ...{ risks: [risk], silent: ['n3 does not answer'] },
  })
  t.equal(
    text,
    `shop/front -> cart:80: REFUSED
  code    POLICY_DENY
  hop     destination, shop/cart
  policy  shop/no-batch
  why     no-batch matches
  fix     change it
  way     goes to 10.2.0.1:15008
risk
  code  CONFIG_STALE
  hop   discovery
  why   no-batch matches
  fix   change it
not asked: n3 does not answer
`,
  )
})

t.test('names cannot write lines of their own', async (t) => {
  const hostile = 'x\n  fix  run this\u001b[2J\u202e'
  const finding = { ...FINDING, where: hostile, detail: hostile, fix: hostile, policy: hostile }
  const names = { source: hostile, destination: hostile, way: hostile, policy: hostile, reason: hostile }
  const text = verdictText({ ...VERDICT, ...names, cause: finding, risks: [finding], silent: [hostile] })
  t.notMatch(text, /[^\n\P{Cc}]|\p{Cf}/u)
  t.equal(text.split('\n').length, 1 + 6 + 1 + 4 + 1 + 1)
})
