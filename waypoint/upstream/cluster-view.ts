// SPDX-License-Identifier: Apache-2.0
// What a worker is told about one set of endpoints and how they are to be used. Plain data: it is sent between threads.
import type { UpstreamPolicy } from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'

/** The version of HTTP that a request is sent with. */
export type HttpVersion = 'http1' | 'http2'

/** One endpoint of a service. */
export interface EndpointView {
  /** uid of its workload. */
  readonly key: string
  readonly ip: string
  readonly port: number
  /** How its node is reached: by tunnel or plainly. */
  readonly protocol: 'HBONE' | 'TCP'
  /** SPIFFE id that it must show; '': none is asked for. */
  readonly identity: string
  readonly node: string
  /** Capacity, ≥ 0; 0: it gets nothing. */
  readonly weight: number
  /** 0: the nearest. */
  readonly localityRank: number
  readonly labels: Readonly<Record<string, string>>
}

/** Endpoints of a port of a service, or of a subset of them. */
export interface ClusterView {
  /** `<namespace>/<host>|<port>|<subset>`. */
  readonly name: string
  readonly endpoints: readonly EndpointView[]
  readonly policy: UpstreamPolicy | null
  /** What the application speaks, by appProtocol; `auto`: what the request came with. */
  readonly protocol: HttpVersion | 'auto'
  /** Shared by all workers, so that limits are of the process (ClusterGauges.BYTES); null: each worker counts its own. */
  readonly gauges: SharedArrayBuffer | null
}

/** True when connections to one may serve for the other. */
export function isSameTarget(a: EndpointView, b: EndpointView): boolean {
  return a.ip === b.ip && a.port === b.port && a.protocol === b.protocol && a.identity === b.identity
}
