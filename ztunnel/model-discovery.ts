// SPDX-License-Identifier: Apache-2.0
// The model from a controller. The client is loaded only here, on first use: a node that reads a file does not pay for
// gRPC.
import { hostname } from 'node:os'
import type { Demand } from '../mesh/discovery/demand.ts'
import type { DiscoveryClient, DiscoveryClientOptions } from '../mesh/discovery/discovery-client.ts'
import { DIVERTS_METADATA } from '../mesh/discovery/protocol.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { DemandSource } from './demanded-destinations.ts'
import type { ModelSource } from './model-source.ts'

/** What stands for an address that nobody told. SPEC XDS §1.2. */
const UNKNOWN_IP = '1.1.1.1'

/** Who a ztunnel says it is. */
export interface DiscoveryNodeFacts {
  readonly nodeName: string
  readonly podName: string
  readonly podNamespace: string
  readonly instanceIp: string
}

/** The node of a discovery request, as Istio's ztunnel writes it. */
export function discoveryNode(facts: DiscoveryNodeFacts): DiscoveryClientOptions['node'] {
  const { nodeName, podNamespace: namespace } = facts
  const ip = facts.instanceIp || UNKNOWN_IP
  const name = facts.podName || hostname()
  return {
    id: `ztunnel~${ip}~${name}.${namespace}~${namespace}.svc.cluster.local`,
    metadata: {
      ...{ NAME: name, NAMESPACE: namespace, INSTANCE_IPS: ip, NODE_NAME: nodeName },
      [DIVERTS_METADATA]: 'true', // decide/entrance.ts
    },
  }
}

export class ModelDiscovery implements ModelSource {
  readonly demand: DemandSource | null
  readonly #options: () => Promise<DiscoveryClientOptions>
  #client: DiscoveryClient | null = null
  #isClosed = false

  /** `demand`: what is asked for of which network; null: everything. */
  constructor(
    options: () => Promise<DiscoveryClientOptions>,
    demand: { readonly keys: Demand; readonly network: string } | null = null,
  ) {
    this.#options = options
    this.demand = demand === null ? null : this.#demandSource(demand.keys, demand.network)
  }

  #demandSource(keys: Demand, network: string): DemandSource {
    const isConnected = (): boolean => this.#client?.status().isConnected ?? false
    return {
      use: (ip) => this.#client?.use(`${network}/${ip}`),
      isSettled: (ip) => keys.isSettled(`${network}/${ip}`),
      get isConnected() {
        return isConnected()
      },
    }
  }

  get findings(): readonly string[] {
    return (this.#client?.status().refused ?? []).map(({ name, message }) => `${name}: ${message}`)
  }

  async start(): Promise<void> {
    const [options, loaded] = await Promise.all([
      this.#options(),
      import('../mesh/discovery/discovery-client.ts'),
    ])
    if (this.#isClosed) return
    this.#client = new loaded.DiscoveryClient(options)
    this.#client.start()
  }

  close(): void {
    this.#isClosed = true
    this.#client?.stop()
  }

  get receivedMs(): number | null {
    const { lastResponseMs } = this.#client?.status() ?? { lastResponseMs: Number.NaN }
    return Number.isNaN(lastResponseMs) ? null : lastResponseMs
  }

  get snapshotAgeSeconds(): number | null {
    const { snapshotMs } = this.#client?.status() ?? { snapshotMs: Number.NaN }
    return Number.isNaN(snapshotMs) ? null : Math.max(0, Math.round((systemClock.nowMs - snapshotMs) / 1000))
  }

  get disconnectedSeconds(): number {
    return Math.round((this.#client?.status().disconnectedMs ?? 0) / 1000)
  }

  status(): Readonly<Record<string, unknown>> {
    const { snapshotAgeSeconds, disconnectedSeconds } = this
    return { kind: 'controller', ...this.#client?.status(), snapshotAgeSeconds, disconnectedSeconds }
  }
}
