// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { isRefusal, refuse } from '../../../mesh/errors/refusal.ts'
import {
  RequestConstraint_Attribute as Attribute,
  RequestPoliciesSchema,
  RequestPolicy_Action,
  type TokenRule,
} from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { type Admission, admitAgain, admitRequest } from '../../../waypoint/carry/admission.ts'
import type { ExchangeSource } from '../../../waypoint/carry/exchange.ts'
import { TargetGuard } from '../../../waypoint/carry/target-guard.ts'
import { canonicalTarget } from '../../../waypoint/decide/canonical-path.ts'
import { type BelievedToken, MAX_REQUEST_TOKENS } from '../../../waypoint/decide/request-tokens.ts'
import type { TokenVerdict } from '../../../waypoint/tokens/token-verifier.ts'

const WITH_TOKEN = ['authorization', 'Bearer one']
const CLAIMS = { iss: 'i', sub: 'ann' }

interface Said {
  readonly issuers?: readonly string[]
  readonly denies?: { readonly attribute: Attribute; readonly text: string }
}

/** A target of these rules; `verdicts`: by token. */
class Asked {
  verified = 0
  readonly source: ExchangeSource

  constructor({ issuers = [], denies }: Said, verdicts: Readonly<Record<string, TokenVerdict>> = {}) {
    const policies = create(RequestPoliciesSchema, {
      tokenRules: issuers.map((issuer) => ({ issuer })),
      policies:
        denies === undefined
          ? []
          : [
              {
                ...{ origin: 'shop/no', action: RequestPolicy_Action.DENY },
                rules: [
                  {
                    clauses: [
                      {
                        alternatives: [
                          { constraints: [{ attribute: denies.attribute, values: [{ text: denies.text }] }] },
                        ],
                      },
                    ],
                  },
                ],
              },
            ],
    })
    const verify = (text: string, _rules: readonly TokenRule[], waiter: (verdict: TokenVerdict) => void) => {
      this.verified++
      waiter(verdicts[text] ?? { rule: -1, refusal: refuse('JWT_INVALID', text), claims: {}, keptMs: 0 })
    }
    this.source = {
      target: { guard: new TargetGuard([{ policies, port: 80 }], '10.96.0.1:80') },
      caller: { namespace: 'shop', labels: {} },
      sender: { ip: '10.0.0.1', identity: 'spiffe://td/ns/web/sa/front' },
      context: { tokens: { verify } },
    } as unknown as ExchangeSource // as: all of one that is asked
  }

  admit(headers: readonly string[], again?: BelievedToken | null): Admission {
    const target = canonicalTarget('/ws?x=1')
    if (isRefusal(target)) throw new Error(target.code)
    const admissions: Admission[] = []
    const told = (admission: Admission): void => void admissions.push(admission)
    const asked = [':path', '/ws?x=1', ...headers]
    if (again === undefined) admitRequest(this.source, asked, target, told)
    else admitAgain(this.source, asked, target, again, told)
    const [admission] = admissions
    if (admission === undefined || admissions.length > 1) throw new Error(`told ${admissions.length} times`)
    return admission
  }
}

const GOOD: TokenVerdict = { rule: 0, refusal: null, claims: CLAIMS, keptMs: 0 }
const DENIES_ANN = { attribute: Attribute.REQUEST_PRINCIPAL, text: 'i/ann' }

t.test('a request is let in, and nobody verifies what no rule is about', async (t) => {
  const open = new Asked({})
  t.match(open.admit(WITH_TOKEN), { refusal: null, believed: null })
  t.equal(open.verified, 0)
  const denied = new Asked({ denies: { attribute: Attribute.PATH, text: '/ws' } })
  t.match(denied.admit([]), { refusal: { code: 'POLICY_DENY', detail: 'shop/no[0]' }, policy: 'shop/no[0]' })
})

t.test('a token that is believed is told, and taken off the request', async (t) => {
  const asked = new Asked({ issuers: ['i'] }, { one: GOOD })
  const admission = asked.admit(WITH_TOKEN)
  t.match(admission, { refusal: null, believed: { text: 'one', claims: CLAIMS } })
  t.equal(admission.facts.header('authorization'), undefined)
  t.match(asked.admit(['authorization', 'Bearer two']), { refusal: { code: 'JWT_INVALID' }, believed: null })
  t.match(asked.admit([]), { refusal: null, believed: null })
  const many = Array.from({ length: MAX_REQUEST_TOKENS + 1 }, (_, at) => ['authorization', `Bearer ${at}`])
  t.match(asked.admit(many.flat()), { refusal: { code: 'JWT_INVALID', detail: 'too many tokens' } })
})

t.test('asked again: what a token said then counts, though it has ended', async (t) => {
  const { believed } = new Asked({ issuers: ['i'] }, { one: GOOD }).admit(WITH_TOKEN)
  t.ok(believed)
  const ended = new Asked({ issuers: ['other', 'i'] })
  t.match(ended.admit(WITH_TOKEN, believed), { refusal: null, believed: { text: 'one' } })
  t.equal(ended.verified, 0)
  const denied = new Asked({ issuers: ['i'], denies: DENIES_ANN })
  t.match(denied.admit(WITH_TOKEN, believed), { refusal: { code: 'POLICY_DENY' } })
})

t.test('asked again: a token whose issuer is believed no more is one like any other', async (t) => {
  const { believed } = new Asked({ issuers: ['i'] }, { one: GOOD }).admit(WITH_TOKEN)
  const others = new Asked({ issuers: ['other'] })
  t.match(others.admit(WITH_TOKEN, believed ?? null), { refusal: { code: 'JWT_INVALID' } })
  t.equal(others.verified, 1)
  const nobody = new Asked({ denies: DENIES_ANN })
  t.match(nobody.admit(WITH_TOKEN, believed ?? null), { refusal: null, believed: null }, 'and says nothing')
})

t.test('asked again: a token that nobody looked at then is verified now', async (t) => {
  const asked = new Asked({ issuers: ['i'], denies: DENIES_ANN }, { one: GOOD })
  t.match(asked.admit(WITH_TOKEN, null), { refusal: { code: 'POLICY_DENY' } })
  t.match(asked.admit([], null), { refusal: null })
})
