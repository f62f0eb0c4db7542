// SPDX-License-Identifier: Apache-2.0
// Where the model and the certificate of a waypoint come from: controllers, and what was saved of them.
import { ControllerLink, parseAddresses } from '../mesh/control/controller-link.ts'
import type { RawResources } from '../mesh/discovery/delta-client.ts'
import { DiscoveryClient } from '../mesh/discovery/discovery-client.ts'
import { Revocations } from '../mesh/identity/revocations.ts'
import { SecretManager } from '../mesh/identity/secret-manager.ts'
import type { MeshConfig } from '../mesh/model/mesh-state.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import type { TransientWorker } from '../mesh/runtime/transient-worker.ts'
import { NodeSnapshot } from '../mesh/snapshot/node-snapshot.ts'
import type { BackgroundMethods } from './background-worker.ts'
import type { WaypointConfig } from './config.ts'
import { LAYER7_TYPES } from './resources.ts'

/** Hears the sources. */
export interface SourceHandler {
  readonly onConfig: (mesh: MeshConfig, raw: RawResources) => void
  /** For `new RevokedSet()`. */
  readonly onRevoked: (memory: SharedArrayBuffer) => void
}

/** start() before the first question. */
export class Sources {
  readonly secrets: SecretManager
  readonly revocations: Revocations
  readonly snapshot: NodeSnapshot
  readonly discovery: DiscoveryClient
  readonly #link: ControllerLink

  constructor(
    config: WaypointConfig,
    background: TransientWorker<BackgroundMethods>,
    log: Log,
    { onConfig, onRevoked }: SourceHandler,
  ) {
    const { controllerAddresses, caAddresses, controllerRoots, controllerToken } = config
    const { clusterId, nodeName, trustDomain, stateDirectory } = config
    const [clock, random] = [systemClock, Math.random]
    const requests = {
      begin: (identity: string) => background.call('begin', identity),
      finish: (...answer: Parameters<BackgroundMethods['finish']>) => background.call('finish', ...answer),
    }
    this.#link = new ControllerLink({
      caAddresses: parseAddresses(caAddresses === '' ? controllerAddresses : caAddresses),
      controllerAddresses: parseAddresses(controllerAddresses),
      rootsFile: controllerRoots,
      tokenFile: controllerToken,
      ...{ clusterId, stateDirectory, nodeName, trustDomain, requests, clock, random, log },
    })
    this.revocations = new Revocations({
      ...{ directory: stateDirectory, clock, log, onChange: onRevoked },
    })
    this.snapshot = new NodeSnapshot({
      ...{ config: { ...config, caDirectory: '', certificateGraceDays: 0 }, clock, log },
      compact: (...journal) => background.call('compactJournal', ...journal),
      certificates: () => this.secrets.list().flatMap(({ certificate }) => certificate ?? []),
    })
    this.secrets = new SecretManager({
      ...{ issuer: this.#link.issuer, requests, clock, random },
      ttlSeconds: config.certificateTtlSeconds,
      saved: (identity) => this.snapshot.certificateOf(identity),
    })
    const { journal } = this.snapshot
    this.discovery = new DiscoveryClient({
      addresses: parseAddresses(controllerAddresses),
      node: discoveryNode(config),
      credentials: () => this.#link.credentials(),
      ...{ clock, random, log, onConfig },
      rawTypes: LAYER7_TYPES,
      onRevocations: (lists) => this.revocations.receive(lists),
      ...(journal === null ? {} : { journal }),
    })
  }

  /** Reads what was saved. Before workers are started. */
  async restore(): Promise<void> {
    await Promise.all([this.revocations.start(), this.snapshot.start()])
  }

  async start(): Promise<void> {
    await this.#link.start()
    this.discovery.start()
  }

  async close(): Promise<void> {
    await Promise.all([this.revocations.close(), this.snapshot.close()])
    this.#link.close()
    this.secrets.close()
  }
}

function discoveryNode(config: WaypointConfig): {
  readonly id: string
  readonly metadata: Record<string, string>
} {
  const { podName, podNamespace: namespace, instanceIp, nodeName } = config
  const ip = instanceIp || '1.1.1.1' // SPEC XDS §1.2: stands for an address that nobody told
  return {
    id: `waypoint~${ip}~${podName}.${namespace}~${namespace}.svc.cluster.local`,
    metadata: { NAME: podName, NAMESPACE: namespace, INSTANCE_IPS: ip, NODE_NAME: nodeName },
  }
}
