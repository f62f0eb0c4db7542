// SPDX-License-Identifier: Apache-2.0
// Waypoints that can be named to a ztunnel: Gateways with an address that serve this traffic and let this namespace in.
// SPEC HBONE §9.2. A reference that cannot be kept is not sent, and the finding says why.
import type { MessageInitShape } from '@bufbuild/protobuf'
import { ipToBytes } from '../../mesh/net/address.ts'
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import type {
  ApplicationTunnelSchema,
  GatewayAddressSchema,
} from '../../proto/generated/istio/workload_pb.js'
import { ApplicationTunnel_Protocol } from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject, ConfigView } from '../watch/config-object.ts'
import { Fields } from './fields.ts'
import type { FindingCode } from './finding-codes.ts'
import { satisfies } from './label-selector.ts'
import { labelOf } from './locality.ts'
import { Memo } from './memo.ts'
import { Notes } from './notes.ts'
import { MAX_PORT } from './service-info.ts'
import type { TranslateSettings } from './translation.ts'
import { WAYPOINT_CLASS } from './waypoint-class.ts'
import { WaypointIdentities } from './waypoint-identities.ts'
import { GATEWAY_NAME, type WaypointName, type WaypointRequest, waypointKey } from './waypoint-request.ts'

const GATEWAY = 'Gateway.gateway.networking.k8s.io'
const GATEWAY_CLASS = 'GatewayClass.gateway.networking.k8s.io'
const WAYPOINT_FOR = 'istio.io/waypoint-for'
const INBOUND_BINDING = 'ambient.istio.io/waypoint-inbound-binding'

/** SPEC HBONE §9.4: a policy for it is for every waypoint. */
export const ISTIO_WAYPOINT_CLASS = 'istio-waypoint'

const NOBODY: readonly string[] = []
const NO_VIEW: ConfigView = { list: () => [], get: () => undefined }

export type Traffic = 'service' | 'workload'

/** What became of a reference. The same object as long as nothing it depends on changed. */
export interface WaypointBinding {
  /** null: it is not sent. */
  readonly address: MessageInitShape<typeof GatewayAddressSchema> | null
  readonly problem: { readonly code: FindingCode; readonly message: string; readonly fix: string } | null
}

/**
 * False when a namespace names a waypoint that serves other traffic: then it was never meant for this one, and its
 * policies do not concern it.
 */
export function isMeantFor(request: WaypointRequest, binding: WaypointBinding | null): boolean {
  return !(request.isInherited && binding?.problem?.code === 'WAYPOINT_WRONG_TYPE')
}

/** Where a waypoint's pods want their traffic. */
export type Tunnel = MessageInitShape<typeof ApplicationTunnelSchema>

/** The waypoints of one mesh, across translations. */
export class Waypoints {
  readonly #bindings = new Memo<WaypointBinding>()
  readonly #tunnels = new Memo<Tunnel | undefined>()
  /** Of waypoints with an address instead of a name. */
  readonly #network: string
  readonly #identities: WaypointIdentities
  readonly #contexts = new Memo<object>()
  #view: ConfigView = NO_VIEW
  #classes: ReadonlySet<unknown> | null = null

  constructor({ network, trustDomain }: TranslateSettings) {
    this.#network = network
    this.#identities = new WaypointIdentities(trustDomain)
  }

  /** Begins a translation. */
  use(view: ConfigView): void {
    this.#view = view
    this.#classes = null
    this.#identities.use(view)
    this.#bindings.sweep()
    this.#tunnels.sweep()
    this.#contexts.sweep()
  }

  /** The same object as long as no waypoint changed. */
  get context(): object {
    const inputs = [...this.#view.list(GATEWAY), ...this.#view.list(GATEWAY_CLASS), ...this.#identities.all()]
    return this.#contexts.get('', inputs, () => ({}))
  }

  gateway({ namespace, name }: WaypointName): ConfigObject | undefined {
    return this.#view.get(GATEWAY, namespace, name)
  }

  /** Principals of its pods, in order; the same array as long as they are the same. Empty: there is no such Gateway. */
  identitiesOf(name: WaypointName): readonly string[] {
    return this.gateway(name) === undefined ? NOBODY : this.#identities.of(name)
  }

  /** A waypoint that we run. */
  isOurs(name: WaypointName): boolean {
    return this.gateway(name)?.spec.gatewayClassName === WAYPOINT_CLASS
  }

  /** A Gateway says that it is of this class, or all are. */
  hasClass(name: string): boolean {
    this.#classes ??= new Set(this.#view.list(GATEWAY).map(({ spec }) => spec.gatewayClassName))
    return name === ISTIO_WAYPOINT_CLASS || this.#classes.has(name)
  }

  /** False when it is of another class for sure: one that does not exist yet may be of any. */
  mayBeOf(name: WaypointName, gatewayClass: string): boolean {
    const own: unknown = this.gateway(name)?.spec.gatewayClassName
    return typeof own !== 'string' || own === gatewayClass
  }

  /** Binds objects of one namespace to a waypoint. */
  bind(
    waypoint: WaypointName,
    user: ConfigObject | undefined,
    home: string,
    traffic: Traffic,
  ): WaypointBinding {
    const gateway = this.gateway(waypoint)
    const gatewayClass = this.#classOf(gateway)
    const key = `${waypointKey(waypoint)}/${home}/${traffic}`
    return this.#bindings.get(key, [gateway, gatewayClass, user], () =>
      this.#decide(waypoint, gateway, gatewayClass, { user, home, traffic }),
    )
  }

  /** Notes why a reference is not sent, where the reader expects it. */
  note(binding: WaypointBinding, notes: Notes, isInherited: boolean): void {
    if (binding.problem === null || (isInherited && binding.problem.code === 'WAYPOINT_WRONG_TYPE')) return
    notes.add(binding.problem.code, 'metadata', binding.problem.message, binding.problem.fix)
  }

  /** How a pod of a waypoint wants its traffic; undefined for every other pod. */
  tunnelOf(pod: ConfigObject): Tunnel | undefined {
    const name = pod.metadata.labels[GATEWAY_NAME]
    if (name === undefined) return undefined
    const { namespace } = pod.metadata
    const gateway = this.gateway({ namespace, name })
    const text: unknown =
      gateway?.metadata.annotations[INBOUND_BINDING] ??
      this.#classOf(gateway)?.metadata.annotations[INBOUND_BINDING]
    return this.#tunnels.get(`${namespace}/${name}`, [text], () => readTunnel(text))
  }

  #classOf(gateway: ConfigObject | undefined): ConfigObject | undefined {
    const name = gateway?.spec.gatewayClassName
    return typeof name === 'string' ? this.#view.get(GATEWAY_CLASS, '', name) : undefined
  }

  #decide(
    { namespace, name }: WaypointName,
    gateway: ConfigObject | undefined,
    gatewayClass: ConfigObject | undefined,
    use: { user: ConfigObject | undefined; home: string; traffic: Traffic },
  ): WaypointBinding {
    const called = `the waypoint ${namespace}/${name}`
    const refuse = (code: FindingCode, message: string, fix: string): WaypointBinding => ({
      address: null,
      problem: { code, message: `${called} ${message}`, fix },
    })
    if (gateway === undefined)
      return refuse('WAYPOINT_NOT_FOUND', 'does not exist', 'create it, or mend the name')
    const served =
      labelOf(gateway.metadata.labels, [WAYPOINT_FOR]) ||
      labelOf(gatewayClass?.metadata.labels ?? {}, [WAYPOINT_FOR]) ||
      'service'
    if (served !== use.traffic && served !== 'all') {
      const fix = `label the Gateway ${WAYPOINT_FOR}: all, or name another waypoint`
      return refuse('WAYPOINT_WRONG_TYPE', `serves ${served}, not ${use.traffic}`, fix)
    }
    if (!isAllowed(gateway, use.user, use.home)) {
      const fix = 'let the namespace in: allowedRoutes.namespaces of the listener'
      return refuse('WAYPOINT_NOT_ALLOWED', `does not accept the namespace ${use.home}`, fix)
    }
    const address = addressOf(gateway, this.#network)
    if (address !== null) return { address, problem: null }
    return refuse(
      'WAYPOINT_NOT_READY',
      'has no address yet',
      'wait for it, or read the status of the Gateway',
    )
  }
}

function readTunnel(text: unknown): Tunnel | undefined {
  const match = typeof text === 'string' ? /^(NONE|PROXY)(?:\/([1-9]\d{0,4}))?$/.exec(text) : null
  const port = Number(match?.[2] ?? 0)
  if (match === null || port > MAX_PORT) return undefined
  return { protocol: ApplicationTunnel_Protocol[match[1] === 'PROXY' ? 'PROXY' : 'NONE'], port }
}

// Mistakes inside a Gateway are not those of its users, so its notes go nowhere: it is refused instead.
function isAllowed(gateway: ConfigObject, user: ConfigObject | undefined, home: string): boolean {
  const listeners = new Fields(gateway.spec, 'spec', new Notes(gateway)).items('listeners')
  const listener =
    listeners.find((each) => each.raw('protocol') === 'HBONE') ??
    listeners.find((each) => each.raw('port') === HBONE_PORT) ??
    listeners[0]
  const namespaces = listener?.fields('allowedRoutes').fields('namespaces')
  const from = namespaces?.text('from', 'Same') ?? 'Same'
  if (from === 'All') return true
  if (from === 'Same') return home === gateway.metadata.namespace
  if (from !== 'Selector' || namespaces === undefined || user === undefined) return false
  return satisfies(namespaces.fields('selector'), user.metadata.labels)
}

function addressOf(
  gateway: ConfigObject,
  network: string,
): MessageInitShape<typeof GatewayAddressSchema> | null {
  const addresses = new Fields(gateway.status, 'status', new Notes(gateway)).items('addresses')
  const hostname = addresses.find((each) => each.raw('type') === 'Hostname')?.text('value') ?? ''
  if (hostname !== '') {
    const value = { namespace: gateway.metadata.namespace, hostname }
    return { destination: { case: 'hostname', value }, hboneMtlsPort: HBONE_PORT }
  }
  for (const each of addresses) {
    const address = ipToBytes(each.text('value'))
    if (address === undefined) continue
    return { destination: { case: 'address', value: { network, address } }, hboneMtlsPort: HBONE_PORT }
  }
  return null
}
