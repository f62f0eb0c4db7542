// SPDX-License-Identifier: Apache-2.0
// What may be closed to whoever has no identity, against the decision that is made inside the pod.
import fc from 'fast-check'
import t from 'tap'
import {
  convertPeer,
  type PeerPart,
  staticStrict,
} from '../../../controller/translate/peer-authentication.ts'
import { closedPorts } from '../../../mesh/authz/closed-ports.ts'
import { AuthzConnection } from '../../../mesh/authz/connection.ts'
import { compilePolicies } from '../../../mesh/authz/evaluate.ts'
import { EMPTY_MATCH, type Match, type Policy, type Rule } from '../../../mesh/model/policy.ts'
import { ALL_PORTS, hasPort, NO_PORTS, otherPorts, portsOf } from '../../../mesh/net/port-set.ts'
import { randomPolicies } from '../../support/random-policies.ts'
import { receivedPolicy } from '../../support/received-policies.ts'

const IPS = ['10.0.0.1', '10.0.0.2', '10.1.0.1', '192.168.0.1', 'fd00::1', '2001::1']
const PORTS = [80, 8080, 9999, 7]
const match = (partial: Partial<Match>): Match => ({ ...EMPTY_MATCH, ...partial })
const policy = (action: Policy['action'], ...rules: readonly Rule[]): Policy => ({
  ...{ name: 'p', namespace: 'shop', scope: 'Namespace', dryRun: false },
  ...{ action, rules },
})
const NOBODY = { notPrincipals: [{ kind: 'presence' as const }] }
const SOMEBODY = { principals: [{ kind: 'presence' as const }] }

/** A PeerAuthentication, as the controller translates it and a node receives it. */
function peer(mode: PeerPart['mode'], ports: Readonly<Record<number, PeerPart['mode']>>): Policy[] {
  const metadata = { name: 'p', namespace: 'shop' }
  // as: only what is read of it
  const object = { metadata } as unknown as PeerPart['object']
  const levels = new Map(Object.entries(ports).map(([port, each]) => [Number(port), each] as const))
  const converted = convertPeer(
    { object, selector: null, mode, ports: levels, isBroken: false, findings: [] },
    false,
  )
  return converted === null ? [] : [receivedPolicy(converted)]
}

/** Refused on this port from each of these addresses. */
function isRefused(policies: readonly Policy[], port: number): boolean {
  const index = compilePolicies(policies)
  return IPS.every((source) =>
    IPS.every((destination) => {
      return !index.evaluate(new AuthzConnection(source, null, destination, port)).allowed
    }),
  )
}

t.test('what strict comes to, and what does not', async (t) => {
  const table: readonly (readonly [string, readonly Policy[], object])[] = [
    ['nothing', [], NO_PORTS],
    ['strict', [receivedPolicy(staticStrict('istio-system'))], ALL_PORTS],
    [
      'strict but for two ports',
      peer('STRICT', { 9001: 'PERMISSIVE', 80: 'PERMISSIVE' }),
      otherPorts(portsOf([80, 9001])),
    ],
    [
      'permissive but for two ports',
      peer('PERMISSIVE', { 9001: 'STRICT', 80: 'STRICT' }),
      portsOf([80, 9001]),
    ],
    [
      'strict where something else is permissive',
      [...peer('STRICT', { 80: 'PERMISSIVE' }), ...peer('PERMISSIVE', { 80: 'STRICT' })],
      ALL_PORTS,
    ],
    ['only those who prove who they are', [policy('Allow', [[match(SOMEBODY)]])], ALL_PORTS],
    [
      'all on one port, who prove it on others',
      [policy('Allow', [[match(SOMEBODY)]], [[match({ destinationPorts: [80] })]])],
      otherPorts(portsOf([80])),
    ],
    ['all from one network', [policy('Allow', [[match({ sourceIps: ['10.0.0.0/8'] })]])], NO_PORTS],
    ['nobody at all', [policy('Allow')], ALL_PORTS],
    ['not from one network', [policy('Deny', [[match({ ...NOBODY, sourceIps: ['10.0.0.0/8'] })]])], NO_PORTS],
    ['a DENY of everybody', [policy('Deny', [])], ALL_PORTS],
    [
      'a namespace that nobody has',
      [policy('Deny', [[match({ notNamespaces: [{ kind: 'exact', value: 'shop' }] })]])],
      ALL_PORTS,
    ],
    [
      'a namespace',
      [policy('Deny', [[match({ namespaces: [{ kind: 'exact', value: 'shop' }] })]])],
      NO_PORTS,
    ],
    ['only reported', [{ ...policy('Deny', []), dryRun: true }], NO_PORTS],
  ]
  for (const [name, policies, expected] of table) t.same(closedPorts(policies), expected, name)
})

t.test(
  'what is closed is refused inside the pod too; what is refused from everywhere is closed',
  async (t) => {
    const seen = { closed: 0, open: 0, refusedHere: 0 }
    fc.assert(
      fc.property(randomPolicies, fc.constantFrom(...PORTS), (policies, port) => {
        const isClosed = hasPort(closedPorts(policies), port)
        const isRefusedHere = isRefused(policies, port)
        seen[isClosed ? 'closed' : 'open']++
        if (isRefusedHere && !isClosed) seen.refusedHere++
        return !isClosed || isRefusedHere
      }),
      { numRuns: 4000, seed: 20_260_101 },
    )
    t.ok(seen.closed > 400 && seen.open > 400, JSON.stringify(seen))
    // Several rules about addresses that together are all of them: seldom, and left to the pod.
    t.ok(seen.refusedHere < 40, JSON.stringify(seen))
    const withoutAddresses = randomPolicies.map((policies) =>
      policies.map((each) => ({
        ...each,
        rules: each.rules.map((rule) =>
          rule.map((clause) =>
            clause.map((one) => ({
              ...one,
              ...{ sourceIps: [], notSourceIps: [], destinationIps: [], notDestinationIps: [] },
            })),
          ),
        ),
      })),
    )
    fc.assert(
      fc.property(withoutAddresses, fc.constantFrom(...PORTS), (policies, port) => {
        return hasPort(closedPorts(policies), port) === isRefused(policies, port)
      }),
      { numRuns: 2000, seed: 20_260_101 },
    )
  },
)
