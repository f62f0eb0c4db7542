// SPDX-License-Identifier: Apache-2.0
// Random policies and connections over a small world, so that rules hit about as often as they miss.
import fc from 'fast-check'
import type { Match, Policy, StringMatch } from '../../mesh/model/policy.ts'
import type { NaiveConnection, NaiveDestination } from './naive-authz.ts'

const namespaces = ['shop', 'pay', 'web']
const accounts = ['cart', 'cart-two', 'root']
const trustDomains = ['cluster.local', 'other']
const ips = ['10.0.0.1', '10.0.0.2', '10.1.0.1', 'fd00::1']
const cidrTexts = ['10.0.0.0/24', '10.0.0.1/32', '10.0.0.0/8', 'fd00::/8', '0.0.0.0/0']
const ports = [80, 8080, 9999]

const principals = trustDomains.flatMap((td) =>
  namespaces.flatMap((ns) => accounts.map((sa) => `${td}/ns/${ns}/sa/${sa}`)),
)

const list = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constant<T[]>([]) },
    { weight: 1, arbitrary: fc.array(item, { maxLength: 3 }) },
  )

const stringMatch = (values: readonly string[], parts: readonly string[]): fc.Arbitrary<StringMatch> =>
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('exact' as const), value: fc.constantFrom(...values) }),
    },
    fc.record({
      kind: fc.constantFrom('prefix' as const, 'suffix' as const),
      value: fc.constantFrom(...parts),
    }),
    fc.constant({ kind: 'presence' as const }),
  )

const namespaceMatch = stringMatch(namespaces, ['s', 'p', 'y', 'eb', ''])
const principalMatch = stringMatch(principals, [
  'cluster.local/',
  'other/ns/pay',
  '/sa/cart',
  'root',
  'spiffe://',
])
const accountMatch = fc.record({
  namespace: fc.constantFrom(...namespaces),
  serviceAccount: fc.constantFrom(...accounts),
})

const match: fc.Arbitrary<Match> = fc.record({
  namespaces: list(namespaceMatch),
  notNamespaces: list(namespaceMatch),
  serviceAccounts: list(accountMatch),
  notServiceAccounts: list(accountMatch),
  principals: list(principalMatch),
  notPrincipals: list(principalMatch),
  sourceIps: list(fc.constantFrom(...cidrTexts)),
  notSourceIps: list(fc.constantFrom(...cidrTexts)),
  destinationIps: list(fc.constantFrom(...cidrTexts)),
  notDestinationIps: list(fc.constantFrom(...cidrTexts)),
  destinationPorts: list(fc.constantFrom(...ports)),
  notDestinationPorts: list(fc.constantFrom(...ports)),
})

const names = ['a', 'b', 'c', 'd', 'e', 'f']

/** Policies with distinct keys. */
export const randomPolicies: fc.Arbitrary<Policy[]> = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom(...names),
    namespace: fc.constantFrom('shop', 'pay', 'istio-system'),
    scope: fc.constantFrom('Global' as const, 'Namespace' as const, 'WorkloadSelector' as const),
    action: fc.constantFrom('Allow' as const, 'Deny' as const),
    dryRun: fc.oneof(
      { weight: 4, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    rules: fc.array(fc.array(fc.array(match, { maxLength: 3 }), { maxLength: 3 }), { maxLength: 3 }),
  }),
  { maxLength: 6, selector: ({ namespace, name }) => `${namespace}/${name}` },
)

/** A destination workload; it may name policies that do not exist. */
export const randomDestination: fc.Arbitrary<NaiveDestination> = fc.record({
  namespace: fc.constantFrom('shop', 'pay'),
  authorizationPolicies: fc.uniqueArray(
    fc.constantFrom('shop/a', 'shop/b', 'pay/c', 'istio-system/d', 'istio-system/a', 'shop/unknown'),
    { maxLength: 4 },
  ),
})

/** A connection, one in four without identity. */
export const randomConnection: fc.Arbitrary<NaiveConnection> = fc.record({
  sourceIp: fc.constantFrom(...ips),
  destinationIp: fc.constantFrom(...ips),
  destinationPort: fc.constantFrom(...ports),
  identity: fc.option(
    fc.record({
      trustDomain: fc.constantFrom(...trustDomains),
      namespace: fc.constantFrom(...namespaces),
      serviceAccount: fc.constantFrom(...accounts),
    }),
    { freq: 3 },
  ),
})
