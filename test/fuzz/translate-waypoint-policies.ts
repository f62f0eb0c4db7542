// SPDX-License-Identifier: Apache-2.0
// Policies for services, Gateways and GatewayClasses in a small world in which waypoints may be missing, late, of the
// wrong type or closed to the namespace: a pod refuses exactly what such a policy concerns and no waypoint decided.
import { clone } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { NEEDS_L7_PREFIX } from '../../controller/translate/policy-names.ts'
import {
  type Authorization,
  AuthorizationSchema,
  type Clause,
} from '../../proto/generated/istio/authorization_pb.js'
import { naiveVerdict } from '../support/naive-authz.ts'
import { receivedPolicy } from '../support/received-policies.ts'
import {
  ACCOUNTS,
  type Addressed,
  askedBy,
  boundTo,
  type Call,
  calls,
  identityOf,
  type RandomGateway,
  type RandomPolicy,
  SERVICE_PORT,
  serves,
  targetOf,
  translateWorld,
  type World,
  worlds,
} from '../support/waypoint-worlds.ts'

const RUNS = 4000
type Change = (policies: readonly Authorization[]) => readonly Authorization[]
const same: Change = (policies) => policies

/** Whether the pod lets a call in after the translation; `change` may spoil what is sent. */
function isAllowed(world: World, call: Call, change: Change = same): boolean {
  const { pod, authorizations } = translateWorld(world)
  const { port } = call
  const sent = [...authorizations.values()].filter(({ name }) => name.startsWith(NEEDS_L7_PREFIX))
  const connection = {
    sourceIp: '10.2.0.9',
    destinationIp: '10.2.0.1',
    destinationPort: port,
    identity: identityOf(call),
  }
  return naiveVerdict(change(sent).map(receivedPolicy), pod, connection).allowed
}

/** The oracle: nothing that the call may have been is concerned by a policy that nobody applied to it. */
function isRightlyAllowed(world: World, call: Call): boolean {
  const addressed: Addressed[] = call.port === SERVICE_PORT ? ['workload', 'service'] : ['workload']
  return world.policies.every((policy) => {
    const wouldDeny = policy.action === 'ALLOW' || call.source?.namespace === 'bad'
    return (
      !wouldDeny ||
      addressed.every((each) => !isConcerned(world, policy, each) || isDecided(world, policy, call))
    )
  })
}

/** A policy concerns traffic that no waypoint has. */
function isConcerned(world: World, policy: RandomPolicy, addressed: Addressed): boolean {
  const asked = askedBy(world, addressed)
  const waypoint = asked === null ? undefined : world.gateways[asked.name]
  const isBound = boundTo(world, addressed) !== null
  if (policy.kind === 'Service') return addressed === 'service' && !isBound
  if (isBound || asked === null || waypoint === undefined || !isMeant(policy, asked.name, waypoint))
    return false
  return !(asked.isInherited && waypoint.exists && !serves(world, asked.name, addressed))
}

function isMeant(policy: RandomPolicy, name: string, { exists, className }: RandomGateway): boolean {
  if (policy.kind === 'Gateway') return policy.name === name
  return targetOf(policy) === 'istio-waypoint' || !exists || className === targetOf(policy)
}

/** The call comes from a waypoint that applies the policy, and that the pod or its service names. */
function isDecided(world: World, policy: RandomPolicy, { source }: Call): boolean {
  if (policy.kind === 'Service' || source?.namespace !== 'shop') return false
  return (['workload', 'service'] as const).some((addressed) => {
    const asked = askedBy(world, addressed)
    const waypoint = asked === null ? undefined : world.gateways[asked.name]
    if (asked === null || waypoint?.exists !== true || ACCOUNTS[asked.name] !== source.account) return false
    const isOfThis = addressed === 'workload' || !asked.isInherited || serves(world, asked.name, 'service')
    return isOfThis && isMeant(policy, asked.name, waypoint)
  })
}

t.test(
  'a pod refuses what a policy of its waypoint concerns, exactly when no waypoint decided it',
  async (t) => {
    let allowed = 0
    const property = fc.property(worlds, calls, (world, call) => {
      const isLetIn = isAllowed(world, call)
      if (isLetIn) allowed++
      return isLetIn === isRightlyAllowed(world, call)
    })
    fc.assert(property, { numRuns: RUNS, seed: 20_264 })
    t.ok(allowed > RUNS / 10 && allowed < RUNS * 0.9, `${allowed} of ${RUNS} allowed`)
  },
)

t.test('every mistake in what is sent is noticed', async (t) => {
  const isForPorts = ({ rules }: Authorization): boolean =>
    rules.some(({ clauses }) => clauses[0]?.matches[0]?.destinationPorts.length === 1)
  const hasExceptions = ({ matches }: Clause): boolean =>
    matches.some(({ notPrincipals }) => notPrincipals.length > 0)
  const mutations: Readonly<Record<string, Change>> = {
    'services are not refused': (all) => all.filter((each) => !isForPorts(each)),
    'workloads are not refused': (all) => all.filter(isForPorts),
    'services are refused at every port': (all) =>
      changeClauses(all, (clauses) =>
        clauses.filter(({ matches }) => matches[0]?.destinationPorts.length !== 1),
      ),
    'waypoints are refused what they decided': (all) =>
      changeClauses(all, (clauses) => clauses.filter((each) => !hasExceptions(each))),
  }
  for (const [name, change] of Object.entries(mutations)) {
    const property = fc.property(
      worlds,
      calls,
      (world, call) => isAllowed(world, call, change) === isRightlyAllowed(world, call),
    )
    t.ok(fc.check(property, { numRuns: RUNS, seed: 20_265, endOnFailure: true }).failed, name)
  }
})

function changeClauses(
  all: readonly Authorization[],
  change: (clauses: Clause[]) => Clause[],
): readonly Authorization[] {
  return all.map((each) => {
    const copy = clone(AuthorizationSchema, each)
    for (const rule of copy.rules) rule.clauses = change(rule.clauses)
    return copy
  })
}
