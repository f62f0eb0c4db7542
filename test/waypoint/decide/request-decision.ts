// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { HttpRuleSchema, type RouteOriginSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import {
  decideRequest,
  originOf,
  pickBackend,
  type RequestDecision,
} from '../../../waypoint/decide/request-decision.ts'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'
import type { RouteHit } from '../../../waypoint/decide/route-match.ts'
import { compileRule } from '../../../waypoint/filters/compiled-rule.ts'

const request = new RequestFacts(
  [':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/a'],
  { path: '/a', query: '' },
  { namespace: '', labels: {} },
)
const ORIGIN = { kind: 'HTTPRoute', namespace: 'shop', name: 'web', index: 2 }
type Rule = Omit<MessageInitShape<typeof HttpRuleSchema>, '$typeName' | '$unknown' | 'origin'>
const hit = (rule: Rule, origin: MessageInitShape<typeof RouteOriginSchema> = ORIGIN): RouteHit => ({
  rule: create(HttpRuleSchema, { ...(rule as object), origin } as MessageInitShape<typeof HttpRuleSchema>),
  prefix: null,
})
const decided = (rule: Rule, random = 0.5): RequestDecision =>
  decideRequest(request, hit(rule), 80, () => random)

t.test(
  'without routes a request goes to the service; with routes of which none matches it goes nowhere',
  async (t) => {
    t.same(decideRequest(request, undefined, 80, Math.random), {
      ...{ kind: 'forward', rule: null, prefix: null, delayMs: 0 },
    })
    t.match(decideRequest(request, null, 80, Math.random), {
      ...{ kind: 'refused', refusal: { code: 'ROUTE_NOT_FOUND', detail: 'GET web/a' } },
    })
  },
)

t.test('what a rule answers itself', async (t) => {
  t.match(decided({ filters: [{ kind: { case: 'redirect', value: { host: 'b' } } }] }), {
    ...{ kind: 'answer', headers: [':status', '302', 'location', 'http://b/a'], body: null },
  })
  const text = new TextEncoder().encode('no')
  t.match(decided({ filters: [{ kind: { case: 'directResponse', value: { status: 410, body: text } } }] }), {
    ...{ kind: 'answer', headers: [':status', '410'], body: text },
  })
})

t.test('a fault comes before the answer, a delay before the fault', async (t) => {
  const abort = { abortStatus: 503, abortMillionths: 1_000_000 }
  const slow = { delay: { seconds: 1n, nanos: 0 }, delayMillionths: 1_000_000 }
  const filters = [
    { kind: { case: 'redirect' as const, value: { host: 'b' } } },
    { kind: { case: 'fault' as const, value: { ...abort, ...slow } } },
  ]
  t.match(decided({ filters }), {
    ...{ kind: 'refused', refusal: { code: 'FAULT_INJECTED' }, abort: { status: 503 }, delayMs: 1000 },
  })
})

t.test('a rule that cannot be followed is refused with its place', async (t) => {
  t.match(decided({ broken: 'no such service' }), {
    refusal: { code: 'ROUTE_BROKEN', detail: 'HTTPRoute shop/web, rule 2: no such service' },
  })
})

t.test('backends have their share, and what is broken of them too', async (t) => {
  const { rule } = hit({
    backends: [
      { service: 'shop/a', weight: 3 },
      { broken: 'gone', weight: 1 },
    ],
  })
  const picked = pickBackend(compileRule(rule), 0.7)
  t.equal(isRefusal(picked) ? '' : picked.backend.service, 'shop/a')
  t.match(pickBackend(compileRule(rule), 0.8), {
    code: 'ROUTE_BROKEN',
    detail: 'HTTPRoute shop/web, rule 2: gone',
  })
  t.match(pickBackend(compileRule(hit({ backends: [{ weight: 0 }] }).rule), 0.5), { code: 'ROUTE_BROKEN' })
  t.equal(
    originOf(compileRule(hit({}, { kind: 'X', namespace: 'n', name: 'm', rule: 'r' }).rule)),
    'X n/m, rule r',
  )
})
