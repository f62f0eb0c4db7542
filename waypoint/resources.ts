// SPDX-License-Identifier: Apache-2.0
// What the controller says of layer 7, decoded: each version of a resource once. One that cannot be read closes what it is
// about, where leaving it out would open something.
import { create, fromBinary, type Message } from '@bufbuild/protobuf'
import type { GenMessage } from '@bufbuild/protobuf/codegenv2'
import type { RawResources } from '../mesh/discovery/delta-client.ts'
import {
  REQUEST_POLICIES_TYPE,
  REQUEST_TELEMETRY_TYPE,
  SERVICE_ROUTES_TYPE,
  TRAFFIC_POLICY_TYPE,
} from '../mesh/discovery/protocol.ts'
import type { Log } from '../mesh/runtime/log.ts'
import {
  type RequestPolicies,
  RequestPoliciesSchema,
  RequestPolicy_Action,
} from '../proto/generated/sidestep/v1/request_policies_pb.js'
import { type ServiceRoutes, ServiceRoutesSchema } from '../proto/generated/sidestep/v1/routes_pb.js'
import { type RequestTelemetry, RequestTelemetrySchema } from '../proto/generated/sidestep/v1/telemetry_pb.js'
import { type TrafficPolicy, TrafficPolicySchema } from '../proto/generated/sidestep/v1/traffic_policy_pb.js'
import type { WaypointModel } from './model/describe.ts'

/** Types that are asked for. */
export const LAYER7_TYPES = [
  ...[SERVICE_ROUTES_TYPE, TRAFFIC_POLICY_TYPE, REQUEST_POLICIES_TYPE, REQUEST_TELEMETRY_TYPE],
]

/** What of the model is made of resources of ours. */
export type Layer7 = Pick<
  WaypointModel,
  'routes' | 'trafficPolicies' | 'requestPolicies' | 'requestTelemetry'
>

export const NOTHING_TOLD: Layer7 = {
  ...{ routes: new Map(), trafficPolicies: new Map() },
  ...{ requestPolicies: new Map(), requestTelemetry: new Map() },
}

export class Layer7Reader {
  readonly #log: Log
  readonly #decoded = new WeakMap<Uint8Array, Message>()

  constructor(log: Log) {
    this.#log = log
  }

  read(raw: RawResources): Layer7 {
    return {
      routes: this.#decode<ServiceRoutes>(ServiceRoutesSchema, raw.get(SERVICE_ROUTES_TYPE), closedRoutes),
      trafficPolicies: this.#decode<TrafficPolicy>(TrafficPolicySchema, raw.get(TRAFFIC_POLICY_TYPE), null),
      requestPolicies: this.#decode<RequestPolicies>(
        RequestPoliciesSchema,
        raw.get(REQUEST_POLICIES_TYPE),
        closedPolicies,
      ),
      requestTelemetry: this.#decode<RequestTelemetry>(
        RequestTelemetrySchema,
        raw.get(REQUEST_TELEMETRY_TYPE),
        null,
      ),
    }
  }

  /** `closed` makes what stands for one that cannot be read: never as if there were no rules. null: it may be left out. */
  #decode<Read extends Message>(
    schema: GenMessage<Read>,
    resources: ReadonlyMap<string, Uint8Array> | undefined,
    closed: ((name: string) => Read) | null,
  ): ReadonlyMap<string, Read> {
    const found = new Map<string, Read>()
    for (const [name, bytes] of resources ?? []) {
      const known = this.#decoded.get(bytes) as Read | undefined // as: the bytes of one type only
      try {
        const decoded = known ?? (fromBinary(schema, bytes) as Read) // as: what the schema is of
        this.#decoded.set(bytes, decoded)
        found.set(name, decoded)
      } catch (err) {
        this.#log.error(
          { reason: 'CONFIG_INVALID', name, err },
          'a resource of the controller cannot be read',
        )
        if (closed !== null) found.set(name, closed(name))
      }
    }
    return found
  }
}

/** A list without an entry that matches. */
const NO_ROUTE = {
  consumerNamespace: '',
  routes: { case: 'http' as const, value: { rules: [], entries: [] } },
}

function closedRoutes(service: string): ServiceRoutes {
  return create(ServiceRoutesSchema, { service, ports: [{ port: 0, lists: [NO_ROUTE] }] })
}

function closedPolicies(target: string): RequestPolicies {
  const denial = { origin: 'unreadable', action: RequestPolicy_Action.DENY, rules: [{}] }
  return create(RequestPoliciesSchema, { target, policies: [denial] })
}
