// SPDX-License-Identifier: Apache-2.0
// The ports of a pod where policies refuse whoever proves no identity, from wherever it comes: what PeerAuthentication STRICT
// comes to, and any other policy of that effect. Whoever cannot see identities may close them. Semantics: SPEC HBONE §4.4.
import type { Clause, Match, Policy, Rule, StringMatch } from '../model/policy.ts'
import {
  ALL_PORTS,
  intersectPorts,
  NO_PORTS,
  otherPorts,
  type PortSet,
  portsOf,
  unitePorts,
} from '../net/port-set.ts'
import { isEmptyMatch, StringSet } from './match.ts'

/** `surely`: whatever hits from every address; `perhaps`: from some. */
type Certainty = 'surely' | 'perhaps'

/** One policy may be that of a whole mesh: looked at once. */
const known = new WeakMap<Policy, PortSet>()

/** A port of the result is refused to every plaintext connection; one that is not may be refused to some addresses. */
export function closedPorts(policies: readonly Policy[]): PortSet {
  const enforced = policies.filter(({ dryRun }) => !dryRun)
  const portsOfAll = (action: Policy['action']): PortSet =>
    enforced
      .filter((policy) => policy.action === action)
      .map(policyPorts)
      .reduce(unitePorts, NO_PORTS)
  const denied = portsOfAll('Deny')
  if (!enforced.some(({ action }) => action === 'Allow')) return denied
  return unitePorts(denied, otherPorts(portsOfAll('Allow')))
}

/** True when policies refuse whoever has no identity, on some port: what strict comes to. */
export function refusesPlaintext(policies: readonly Policy[]): boolean {
  const { isAllBut, ports } = closedPorts(policies.filter(({ action }) => action === 'Deny'))
  return isAllBut || ports.length > 0
}

/** Where a DENY surely refuses, or an ALLOW perhaps admits, whoever has no identity. */
function policyPorts(policy: Policy): PortSet {
  const certainty = policy.action === 'Deny' ? 'surely' : 'perhaps'
  const ports =
    known.get(policy) ?? policy.rules.map((rule) => rulePorts(rule, certainty)).reduce(unitePorts, NO_PORTS)
  known.set(policy, ports)
  return ports
}

/** A clause without matches says nothing; an empty match never hits. */
function rulePorts(rule: Rule, certainty: Certainty): PortSet {
  return rule
    .filter((clause) => clause.length > 0)
    .map((clause) => clausePorts(clause, certainty))
    .reduce(intersectPorts, ALL_PORTS)
}

function clausePorts(clause: Clause, certainty: Certainty): PortSet {
  return clause
    .filter((match) => !isEmptyMatch(match))
    .map((match) => matchPorts(match, certainty))
    .reduce(unitePorts, NO_PORTS)
}

function matchPorts(match: Match, certainty: Certainty): PortSet {
  const { sourceIps, notSourceIps, destinationIps, notDestinationIps } = match
  const isAboutAddresses = [sourceIps, notSourceIps, destinationIps, notDestinationIps].some(
    ({ length }) => length > 0,
  )
  if (!hitsNobody(match) || (isAboutAddresses && certainty === 'surely')) return NO_PORTS
  const { destinationPorts, notDestinationPorts } = match
  const named = destinationPorts.length === 0 ? ALL_PORTS : portsOf(destinationPorts)
  return intersectPorts(named, otherPorts(portsOf(notDestinationPorts)))
}

/** No principal and no service account is never a hit; the namespace of nobody is the empty text. */
function hitsNobody(match: Match): boolean {
  const hasNamespace = (list: readonly StringMatch[]): boolean => new StringSet(list).has('')
  return (
    match.principals.length === 0 &&
    match.serviceAccounts.length === 0 &&
    (match.namespaces.length === 0 || hasNamespace(match.namespaces)) &&
    !hasNamespace(match.notNamespaces)
  )
}
