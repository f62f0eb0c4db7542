// SPDX-License-Identifier: Apache-2.0
// Policies for services, Gateways and GatewayClasses in a small world in which waypoints may be missing, late, of the
// wrong type or closed to the namespace: a pod refuses exactly what such a policy concerns and no waypoint decided.
import { clone } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { NEEDS_L7_PREFIX } from '../../controller/translate/policy-names.ts'
import { Translator } from '../../controller/translate/translate.ts'
import {
  type Authorization,
  AuthorizationSchema,
  type Clause,
} from '../../proto/generated/istio/authorization_pb.js'
import { naiveVerdict } from '../support/naive-authz.ts'
import { receivedPolicy } from '../support/received-policies.ts'
import { SETTINGS } from '../support/translated.ts'
import { toObject, viewOf } from '../support/yaml-objects.ts'

const RUNS = 4000
const USE = 'istio.io/use-waypoint'
const PORT_OF_SERVICE = 8080

interface RandomGateway {
  readonly exists: boolean
  readonly serves: 'service' | 'workload' | 'all' | undefined
  readonly className: string
  readonly isReady: boolean
  readonly isOpen: boolean
}
interface RandomPolicy {
  readonly kind: 'Service' | 'Gateway' | 'GatewayClass'
  readonly name: string
  readonly action: 'ALLOW' | 'DENY'
}
interface World {
  readonly gateways: Readonly<Record<string, RandomGateway>>
  /** Whom each names; undefined: nobody. */
  readonly byNamespace: string | undefined
  readonly byPod: string | undefined
  readonly byService: string | undefined
  readonly policies: readonly RandomPolicy[]
}
interface Call {
  readonly port: number
  readonly source: { readonly namespace: string; readonly account: string } | null
}

const gateway: fc.Arbitrary<RandomGateway> = fc.record({
  exists: fc.constantFrom(true, true, true, false),
  serves: fc.constantFrom('service', 'workload', 'all', undefined),
  className: fc.constantFrom('istio-waypoint', 'sidestep-waypoint'),
  isReady: fc.boolean(),
  isOpen: fc.constantFrom(true, true, true, false),
})
const named = fc.constantFrom(undefined, undefined, 'near', 'far', 'none')
const worlds: fc.Arbitrary<World> = fc.record({
  gateways: fc.record({ near: gateway, far: gateway }),
  byNamespace: named,
  byPod: named,
  byService: named,
  policies: fc.array(
    fc.record({
      kind: fc.constantFrom('Service', 'Gateway', 'GatewayClass'),
      name: fc.constantFrom('near', 'far'),
      action: fc.constantFrom('ALLOW', 'DENY'),
    }),
    { minLength: 1, maxLength: 2 },
  ),
})
const calls: fc.Arbitrary<Call> = fc.record({
  port: fc.constantFrom(PORT_OF_SERVICE, 9999),
  source: fc.constantFrom(
    null,
    { namespace: 'web', account: 'front' },
    { namespace: 'bad', account: 'front' },
    { namespace: 'shop', account: 'near-account' },
    { namespace: 'shop', account: 'far' },
  ),
})

/** Near has pods with an account of their own, far has none: then its account has its name. */
const ACCOUNTS: Readonly<Record<string, string>> = { near: 'near-account', far: 'far' }
const GROUPS = {
  Service: '',
  Gateway: 'gateway.networking.k8s.io',
  GatewayClass: 'gateway.networking.k8s.io',
}
/** A policy for a Service is for the one there is, one for a class names the class of a Gateway. */
const targetOf = ({ kind, name }: RandomPolicy): string => {
  if (kind === 'Service') return 'cart'
  if (kind === 'Gateway') return name
  return name === 'near' ? 'sidestep-waypoint' : 'istio-waypoint'
}
const labelled = (name: string | undefined) => (name === undefined ? {} : { [USE]: name })

function objectsOf(world: World): Record<string, unknown>[] {
  const meta = (name: string, labels: object = {}) => ({ name, namespace: 'shop', labels })
  const gateways = Object.entries(world.gateways).flatMap(([name, each]) => {
    const allowedRoutes = { namespaces: { from: each.isOpen ? 'Same' : 'None' } }
    const listeners = [{ name: 'mesh', port: 15008, protocol: 'HBONE', allowedRoutes }]
    const labels = each.serves === undefined ? {} : { 'istio.io/waypoint-for': each.serves }
    const status = each.isReady ? { addresses: [{ type: 'IPAddress', value: '10.96.9.1' }] } : {}
    const spec = { gatewayClassName: each.className, listeners }
    const { exists } = each
    return exists
      ? [
          {
            apiVersion: 'gateway.networking.k8s.io/v1',
            kind: 'Gateway',
            metadata: meta(name, labels),
            spec,
            status,
          },
        ]
      : []
  })
  const policies = world.policies.map((policy, index) => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: `p${index}`, namespace: policy.kind === 'GatewayClass' ? 'istio-system' : 'shop' },
    spec: {
      targetRefs: [{ group: GROUPS[policy.kind], kind: policy.kind, name: targetOf(policy) }],
      action: policy.action,
      rules: [{ from: [{ source: { namespaces: ['bad'] } }] }],
    },
  }))
  return [
    ...gateways,
    ...policies,
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: labelled(world.byNamespace) } },
    {
      ...{ apiVersion: 'v1', kind: 'Pod', status: { podIP: '10.2.9.1' }, spec: { serviceAccountName: 'near-account' } },
      metadata: meta('near-0', { 'gateway.networking.k8s.io/gateway-name': 'near', [USE]: 'none' }),
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: meta('cart', labelled(world.byService)) },
      spec: { clusterIP: '10.96.0.1', selector: { app: 'cart' }, ports: [{ port: 80, targetPort: PORT_OF_SERVICE }] },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: meta('cart', { app: 'cart', ...labelled(world.byPod) }) },
      status: { podIP: '10.2.0.1' },
    },
  ] // biome-ignore format: one object per line
}

type Change = (policies: readonly Authorization[]) => readonly Authorization[]
const same: Change = (policies) => policies

/** Whether the pod lets a call in after the translation; `change` may spoil what is sent. */
function isAllowed(world: World, call: Call, change: Change = same): boolean {
  const objects = objectsOf(world).map(toObject)
  const { workloads, authorizations } = new Translator(SETTINGS).translate(viewOf(objects))
  const pod = workloads.get('Kubernetes//Pod/shop/cart')
  if (pod === undefined) throw new Error('the pod is gone')
  const { source, port } = call
  const identity =
    source === null
      ? null
      : { trustDomain: 'cluster.local', namespace: source.namespace, serviceAccount: source.account }
  const sent = [...authorizations.values()].filter(({ name }) => name.startsWith(NEEDS_L7_PREFIX))
  const connection = { sourceIp: '10.2.0.9', destinationIp: '10.2.0.1', destinationPort: port, identity }
  return naiveVerdict(change(sent).map(receivedPolicy), pod, connection).allowed
}

/** What a caller may have addressed to reach the port: the pod itself, or the service. */
type Addressed = 'workload' | 'service'

/** The oracle: nothing that the call may have been is concerned by a policy that nobody applied to it. */
function isRightlyAllowed(world: World, call: Call): boolean {
  const addressed: Addressed[] = call.port === PORT_OF_SERVICE ? ['workload', 'service'] : ['workload']
  return world.policies.every((policy) => {
    const wouldDeny = policy.action === 'ALLOW' || call.source?.namespace === 'bad'
    return (
      !wouldDeny ||
      addressed.every((each) => !isConcerned(world, policy, each) || isDecided(world, policy, call))
    )
  })
}

function askedBy(world: World, addressed: Addressed): { name: string; isInherited: boolean } | null {
  const own = addressed === 'workload' ? world.byPod : world.byService
  const name = own ?? world.byNamespace
  return name === undefined || name === 'none' ? null : { name, isInherited: own === undefined }
}

function serves(world: World, name: string, addressed: Addressed): boolean {
  const kind = world.gateways[name]?.serves ?? 'service'
  return kind === 'all' || kind === addressed
}

/** A policy concerns traffic that no waypoint has. */
function isConcerned(world: World, policy: RandomPolicy, addressed: Addressed): boolean {
  const asked = askedBy(world, addressed)
  const waypoint = asked === null ? undefined : world.gateways[asked.name]
  const isBound =
    asked !== null &&
    waypoint?.exists === true &&
    waypoint.isReady &&
    waypoint.isOpen &&
    serves(world, asked.name, addressed)
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
