// SPDX-License-Identifier: Apache-2.0
// Policies as a receiver understands them, with everything that Istio's ztunnel drops silently dropped (SPEC HBONE §4.4):
// a StringMatch without a value, an address whose length is none. What it drops widens a policy.

import type { Policy, Match as ReadMatch, StringMatch as ReadString } from '../../mesh/model/policy.ts'
import { formatIp } from '../../mesh/net/address.ts'
import type {
  Address,
  Authorization,
  Match,
  ServiceAccountMatch,
  StringMatch,
} from '../../proto/generated/istio/authorization_pb.js'
import { Action, Scope } from '../../proto/generated/istio/authorization_pb.js'

export function receivedPolicy(policy: Authorization): Policy {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope:
      policy.scope === Scope.GLOBAL
        ? 'Global'
        : policy.scope === Scope.NAMESPACE
          ? 'Namespace'
          : 'WorkloadSelector',
    action: policy.action === Action.DENY ? 'Deny' : 'Allow',
    rules: policy.rules.map(({ clauses }) => clauses.map(({ matches }) => matches.map(receivedMatch))),
    dryRun: policy.dryRun,
  }
}

function receivedMatch(match: Match): ReadMatch {
  return {
    namespaces: match.namespaces.flatMap(receivedString),
    notNamespaces: match.notNamespaces.flatMap(receivedString),
    serviceAccounts: match.serviceAccounts.map(receivedAccount),
    notServiceAccounts: match.notServiceAccounts.map(receivedAccount),
    principals: match.principals.flatMap(receivedString),
    notPrincipals: match.notPrincipals.flatMap(receivedString),
    sourceIps: match.sourceIps.flatMap(receivedBlock),
    notSourceIps: match.notSourceIps.flatMap(receivedBlock),
    destinationIps: match.destinationIps.flatMap(receivedBlock),
    notDestinationIps: match.notDestinationIps.flatMap(receivedBlock),
    destinationPorts: match.destinationPorts,
    notDestinationPorts: match.notDestinationPorts,
  }
}

function receivedString({ matchType }: StringMatch): ReadString[] {
  if (matchType.case === undefined) return []
  return matchType.case === 'presence'
    ? [{ kind: 'presence' }]
    : [{ kind: matchType.case, value: matchType.value }]
}

function receivedAccount({ namespace, serviceAccount }: ServiceAccountMatch) {
  return { namespace, serviceAccount }
}

function receivedBlock({ address, length }: Address): string[] {
  const ip = formatIp(address)
  return ip === undefined || length > address.length * 8 ? [] : [`${ip}/${length}`]
}
