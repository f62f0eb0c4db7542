// SPDX-License-Identifier: Apache-2.0
// istio.security.Authorization → the model. A matcher that cannot be read would be dropped by Istio's ztunnel, which can
// turn a restriction into none (SPEC HBONE §4.4): here the policy is refused as a whole. Pure.
import {
  Action,
  type Address,
  type Authorization,
  Scope,
  type ServiceAccountMatch as WireAccount,
  type Match as WireMatch,
  type StringMatch as WireString,
} from '../../proto/generated/istio/authorization_pb.js'
import type { Match, Policy, PolicyScope, ServiceAccountMatch, StringMatch } from '../model/policy.ts'
import { formatCidr } from '../net/cidr.ts'
import { ResourceError } from './resource-error.ts'

const SCOPES: Readonly<Record<number, PolicyScope>> = {
  [Scope.GLOBAL]: 'Global',
  [Scope.NAMESPACE]: 'Namespace',
  [Scope.WORKLOAD_SELECTOR]: 'WorkloadSelector',
}

/** @throws ResourceError for what must not be taken. */
export function decodePolicy(wire: Authorization): Policy {
  if (wire.name === '') throw new ResourceError('a policy without name')
  const scope = SCOPES[wire.scope]
  if (scope === undefined) throw new ResourceError(`unknown scope ${wire.scope}`)
  if (wire.action !== Action.ALLOW && wire.action !== Action.DENY)
    throw new ResourceError(`unknown action ${wire.action}`)
  return {
    name: wire.name,
    namespace: wire.namespace,
    scope,
    action: wire.action === Action.ALLOW ? 'Allow' : 'Deny',
    rules: wire.rules.map(({ clauses }) => clauses.map(({ matches }) => matches.map(decodeMatch))),
    dryRun: wire.dryRun,
  }
}

/**
 * What is in force instead of a policy that was refused and never known: nothing passes that it covers. What scope an
 * unreadable one has is unknown, so it covers its namespace.
 */
export function denyInstead(wire: Authorization): Policy {
  const scope = SCOPES[wire.scope] ?? 'Namespace'
  return { name: wire.name, namespace: wire.namespace, scope, action: 'Deny', rules: [[]], dryRun: false }
}

function decodeMatch(wire: WireMatch): Match {
  return {
    namespaces: wire.namespaces.map(decodeString),
    notNamespaces: wire.notNamespaces.map(decodeString),
    serviceAccounts: wire.serviceAccounts.map(decodeAccount),
    notServiceAccounts: wire.notServiceAccounts.map(decodeAccount),
    principals: wire.principals.map(decodeString),
    notPrincipals: wire.notPrincipals.map(decodeString),
    sourceIps: wire.sourceIps.map(decodeAddress),
    notSourceIps: wire.notSourceIps.map(decodeAddress),
    destinationIps: wire.destinationIps.map(decodeAddress),
    notDestinationIps: wire.notDestinationIps.map(decodeAddress),
    destinationPorts: wire.destinationPorts.map((port) => port & 0xffff),
    notDestinationPorts: wire.notDestinationPorts.map((port) => port & 0xffff),
  }
}

function decodeString({ matchType }: WireString): StringMatch {
  switch (matchType.case) {
    case 'exact':
    case 'prefix':
    case 'suffix':
      return { kind: matchType.case, value: matchType.value }
    case 'presence':
      return { kind: 'presence' }
    default:
      throw new ResourceError('a string match without a value')
  }
}

function decodeAccount({ namespace, serviceAccount }: WireAccount): ServiceAccountMatch {
  return { namespace, serviceAccount }
}

function decodeAddress({ address, length }: Address): string {
  const cidr = formatCidr(address, length)
  if (cidr === undefined)
    throw new ResourceError(`an address of ${address.length} bytes with a prefix of ${length}`)
  return cidr
}
