// SPDX-License-Identifier: Apache-2.0
// Policies as written, through translation and the waypoint's decision, against an evaluator that reads them word by word.
// FUZZ_CASES=1000000 for a long run.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { readRules } from '../../controller/translate/authorization-rules.ts'
import { Fields } from '../../controller/translate/fields.ts'
import { Notes } from '../../controller/translate/notes.ts'
import { readRequestRules } from '../../controller/translate/requests/request-rules.ts'
import {
  type RequestPolicies,
  RequestPoliciesSchema,
  RequestPolicy_Action,
} from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { Authorizer } from '../../waypoint/decide/authorize.ts'
import { type CallFacts, tokenFacts } from '../../waypoint/decide/call-facts.ts'
import { RequestFacts } from '../../waypoint/decide/request-facts.ts'
import {
  NAIVE_HOME,
  type NaiveRequest,
  naiveRequestVerdict,
  type RawRequestPolicy,
  type RawRequestRule,
} from '../support/naive-requests.ts'
import { toObject } from '../support/yaml-objects.ts'

const CASES = Number(process.env.FUZZ_CASES ?? 12_000)
const CALLS = 20 // per set of policies

const pool = (...values: readonly string[]): fc.Arbitrary<readonly string[]> =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 })
const PRINCIPALS = ['td/ns/shop/sa/cart', 'td/ns/web/sa/front', 'td/ns/web/sa/back']
const principals = pool(...PRINCIPALS, '*', 'td/ns/web/*', '*/sa/front', '*t', 't*')
const namespaces = pool('shop', 'web', '*', 'w*', '*p', 'w')
const blocks = pool('10.0.0.1', '10.0.0.0/24', '10.0.0.0/8', '0.0.0.0/0', '192.0.2.7/32', '10.0.0.2/31')
const tokenNames = pool('https://i/ann', 'https://i/*', '*/bob', '*', 'https://i/')
const ports = pool('80', '8080')
const texts = pool('a', 'ab', 'b*', '*b', '*', 'read', 'x y')

const source = fc.record(
  {
    ...{ principals, notPrincipals: principals, namespaces, notNamespaces: namespaces },
    ...{ requestPrincipals: tokenNames, notRequestPrincipals: tokenNames },
    ...{ ipBlocks: blocks, notIpBlocks: blocks, remoteIpBlocks: blocks, notRemoteIpBlocks: blocks },
    serviceAccounts: pool('cart', 'web/front', 'shop/cart'),
    notServiceAccounts: pool('cart', 'web/front'),
  },
  { requiredKeys: [] },
)
const hosts = pool('Cart.shop', 'cart.shop:80', '*.shop', 'cart*', '*', 'book', '*:80', 'cart.shop:*')
const paths = pool(
  ...[
    '/',
    '/a',
    '/a/*',
    '*/b',
    '*',
    '/a/{*}',
    '/a/{**}',
    '/{*}/b',
    '/{**}/b',
    '/a/{*}/{**}',
    '/a/{*}/{**}/b',
  ],
  ...['/{*}', '/{**}', '/a%2fb', '/a%41'],
)
const methods = pool('GET', 'POST', 'G*', '*T', '*')
const operation = fc.record(
  {
    ...{ hosts, notHosts: hosts, ports, notPorts: ports },
    ...{ methods, notMethods: methods, paths, notPaths: paths },
  },
  { requiredKeys: [] },
)
const condition = fc
  .record({
    kind: fc.constantFrom(
      fc.tuple(
        fc.constantFrom('request.headers[X-a]', 'request.headers[x-b]', 'request.headers[host]'),
        texts,
      ),
      fc.tuple(
        fc.constantFrom(
          ...['request.auth.claims[role]', 'request.auth.claims[deep][er]', 'request.auth.claims[scope]'],
          ...['request.auth.audiences', 'request.auth.presenter', 'request.auth.claims[number]'],
        ),
        texts,
      ),
      fc.tuple(fc.constantFrom('source.ip', 'remote.ip', 'destination.ip'), blocks),
      fc.tuple(fc.constant('source.namespace'), namespaces),
      fc.tuple(fc.constant('source.principal'), principals),
      fc.tuple(fc.constant('request.auth.principal'), tokenNames),
      fc.tuple(fc.constant('destination.port'), ports),
      fc.tuple(fc.constant('connection.sni'), texts),
    ),
    form: fc.constantFrom('values', 'notValues', 'both'),
  })
  .chain(({ kind, form }) =>
    fc.tuple(kind, kind).map(([[key, values], [, notValues]]) => ({
      key,
      ...(form !== 'notValues' && { values }),
      ...(form !== 'values' && { notValues }),
    })),
  )

const isSaid = (lists: object): boolean => Object.keys(lists).length > 0
/** Few fields at once, so that rules match now and then. */
const few = <T extends object>(
  lists: fc.Arbitrary<T>,
): fc.Arbitrary<Readonly<Record<string, readonly string[]>>> =>
  fc
    .tuple(lists, fc.integer({ min: 1, max: 3 }), fc.nat(7))
    .map(([all, count, from]) => {
      const entries = Object.entries(all)
      const start = entries.length === 0 ? 0 : from % entries.length
      return Object.fromEntries([...entries, ...entries].slice(start, start + count))
    })
    .filter(isSaid)
const rule: fc.Arbitrary<RawRequestRule> = fc.record(
  {
    from: fc.array(fc.record({ source: few(source) }), { minLength: 1, maxLength: 2 }),
    to: fc.array(fc.record({ operation: few(operation) }), { minLength: 1, maxLength: 2 }),
    when: fc.array(condition, { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
)
const policy = fc.record({
  action: fc.constantFrom('ALLOW' as const, 'DENY' as const, 'AUDIT' as const),
  isDryRun: fc.constantFrom(false, false, false, true),
  rules: fc.array(rule, { maxLength: 3 }),
})
const policies = fc
  .array(policy, { minLength: 1, maxLength: 4 })
  .map((list): RawRequestPolicy[] => list.map((each, index) => ({ ...each, name: `p${index}` })))

const claim = fc.constantFrom<unknown>(
  'a',
  'ab',
  'read write',
  'ba',
  ['a', 7],
  ['x y'],
  7,
  true,
  null,
  '',
  [],
)
const request: fc.Arbitrary<NaiveRequest> = fc.record({
  principal: fc.constantFrom('', ...PRINCIPALS),
  sourceIp: fc.constantFrom('10.0.0.1', '10.0.0.3', '10.9.9.9', '192.0.2.7'),
  remoteIp: fc.constantFrom('10.0.0.1', '192.0.2.7', '203.0.113.5'),
  destinationIp: fc.constantFrom('', '10.0.0.1', '10.200.0.1'),
  destinationPort: fc.constantFrom(80, 8080, 81),
  host: fc.constantFrom('cart.shop', 'CART.SHOP', 'book', 'a.cart.shop'),
  port: fc.constantFrom('', ':80', ':8080'),
  method: fc.constantFrom('GET', 'POST', 'PUT'),
  path: fc.constantFrom(
    ...[
      '/',
      '/a',
      '/a/',
      '/a/b',
      '/a/x/b',
      '/a/x/y/b',
      '/b',
      '//b',
      '/a//b',
      '/A/b',
      '/a%2Fb',
      '/aA',
      '/a/b/',
    ],
  ),
  headers: fc.dictionary(fc.constantFrom('x-a', 'x-b'), fc.constantFrom('a', 'ab', 'ba', 'read', 'a,b')),
  claims: fc.option(
    fc.record(
      {
        iss: fc.constantFrom<unknown>('https://i', 'other', 7),
        sub: fc.constantFrom<unknown>('ann', 'bob', null),
        ...{
          aud: claim,
          azp: claim,
          role: claim,
          scope: claim,
          number: claim,
          deep: fc.constantFrom({ er: 'a' }, 'a', { er: ['b', 'ab'] }),
        },
      },
      { requiredKeys: [] },
    ),
  ),
})

/** Through translation and over the wire. */
function received(raw: readonly RawRequestPolicy[]): RequestPolicies {
  const messages = raw.map(({ name, action, isDryRun, rules }) => {
    const object = toObject({
      ...{ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy' },
      ...{ metadata: { name, namespace: NAIVE_HOME }, spec: { action, rules } },
    })
    const spec = new Fields(object.spec, 'spec', new Notes(object))
    const read = readRequestRules(object, spec, readRules(spec, NAIVE_HOME).rules, action !== 'DENY')
    if (read.isBroken)
      throw new Error(`not readable: ${JSON.stringify(rules)} ${JSON.stringify(spec.notes.findings)}`)
    return {
      origin: `${NAIVE_HOME}/${name}`,
      action: RequestPolicy_Action[action],
      isDryRun,
      rules: [...read.rules],
    }
  })
  const message = create(RequestPoliciesSchema, { policies: messages })
  return fromBinary(RequestPoliciesSchema, toBinary(RequestPoliciesSchema, message))
}

function callOf(naive: NaiveRequest, isConnection: boolean): CallFacts {
  const { principal, sourceIp, remoteIp, destinationIp, destinationPort, claims } = naive
  const [, , namespace = '', , account = ''] = principal.split('/')
  const headers = [
    ...[':method', naive.method, ':scheme', 'http', ':path', naive.path],
    ...[':authority', `${naive.host}${naive.port}`, ...Object.entries(naive.headers).flat()],
  ]
  const facts = new RequestFacts(headers, { path: naive.path, query: '' }, { namespace, labels: {} })
  return {
    ...{ principal, namespace, sourceIp, destinationIp, destinationPort, serverName: '' },
    serviceAccount: principal === '' ? '' : `${namespace}/${account}`,
    request: isConnection
      ? null
      : { facts, remoteIp, token: claims === null ? null : tokenFacts({ ...claims }) },
  }
}

t.test('a waypoint decides about requests and connections as the policies read', async (t) => {
  t.setTimeout(3_600_000)
  const seen = new Map<string, number>()
  let cases = 0
  fc.assert(
    fc.property(
      policies,
      fc.array(request, { minLength: CALLS, maxLength: CALLS }),
      fc.boolean(),
      (raw, requests, isConnection) => {
        const authorizer = new Authorizer(received(raw), isConnection ? 'connection' : 'request')
        for (const each of requests) {
          const naive = isConnection ? { ...each, remoteIp: each.sourceIp } : each
          const wanted = naiveRequestVerdict(rawForNaive(raw), hostHeader(naive), isConnection)
          const { code, policy, notes } = authorizer.authorize(callOf(naive, isConnection))
          const got = { code: code ?? 'allowed', notes: notes.length }
          cases++
          seen.set(got.code, (seen.get(got.code) ?? 0) + 1)
          if (got.code !== wanted.code || got.notes !== wanted.notes)
            throw new Error(`${JSON.stringify(naive)}: ${JSON.stringify({ got, policy, notes, wanted })}`)
        }
      },
    ),
    { numRuns: Math.ceil(CASES / CALLS) },
  )
  t.ok(cases >= CASES, `${cases} cases: ${JSON.stringify([...seen])}`)
  for (const code of ['allowed', 'POLICY_DENY', 'POLICY_NO_ALLOW'])
    t.ok((seen.get(code) ?? 0) > cases / 20, `${code} is no exception`)
})

/** Requests have their paths in one spelling; so has what is compared with them. */
function rawForNaive(raw: readonly RawRequestPolicy[]): RawRequestPolicy[] {
  const text = JSON.stringify(raw).replaceAll('/a%2fb', '/a%2Fb').replaceAll('/a%41', '/aA')
  return JSON.parse(text) as RawRequestPolicy[] // as: what went in
}

/** HTTP/2 says :authority where HTTP/1.1 says host. */
function hostHeader(naive: NaiveRequest): NaiveRequest {
  return { ...naive, headers: { ...naive.headers, host: `${naive.host}${naive.port}`.toLowerCase() } }
}
