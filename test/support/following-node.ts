// SPDX-License-Identifier: Apache-2.0
// The control side of a node without its data path: it follows controllers and asks them for certificates as a ztunnel
// does, with the same code.
import { join } from 'node:path'
import { pino } from 'pino'
import type { Test } from 'tap'
import { ControllerLink } from '../../mesh/control/controller-link.ts'
import { DiscoveryClient } from '../../mesh/discovery/discovery-client.ts'
import type { WorkloadCertificate } from '../../mesh/identity/certificate.ts'
import { certificateRequests } from '../../mesh/identity/certificate-requests.ts'
import type { MeshConfig } from '../../mesh/model/mesh-state.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { discoveryNode } from '../../ztunnel/model-discovery.ts'
import { poll } from './mesh-lab.ts'

export interface FollowingNodeOptions {
  readonly name: string
  /** `host:port` of the controllers, the preferred one first. */
  readonly addresses: readonly string[]
  readonly rootsFile: string
  /** A join token, or the token of a pod. */
  readonly tokenFile: string
  /** Its state is kept below. */
  readonly directory: string
}

const log = pino({ level: 'silent' })

/** Follows until the test ends. */
export async function followControllers(t: Test, options: FollowingNodeOptions) {
  const { name, addresses, rootsFile, tokenFile, directory } = options
  const link = new ControllerLink({
    controllerAddresses: [],
    ...{ caAddresses: addresses, rootsFile, tokenFile, clusterId: 'Kubernetes' },
    ...{ nodeName: name, trustDomain: 'cluster.local', stateDirectory: join(directory, name) },
    ...{ requests: certificateRequests, clock: systemClock, random: () => 0, log },
  })
  t.teardown(() => link.close())
  await link.start()
  const configs: MeshConfig[] = []
  const client = new DiscoveryClient({
    addresses,
    node: discoveryNode({ nodeName: name, podName: '', podNamespace: 'istio-system', instanceIp: '' }),
    credentials: () => link.credentials(),
    ...{ clock: systemClock, random: () => 0, log },
    onConfig: (config) => configs.push(config),
  })
  t.teardown(() => client.stop())
  client.start()
  return {
    client,
    last: () => configs.at(-1),
    /** Waits until what it knows is so. */
    sees: (what: string, holds: (config: MeshConfig) => boolean) =>
      poll(
        `${name} sees ${what}`,
        () => {
          const config = configs.at(-1)
          return config !== undefined && holds(config) ? config : null
        },
        20_000,
      ),
    sign: async (identity: string): Promise<WorkloadCertificate> => {
      const { owner, csrPem } = await certificateRequests.begin(identity)
      const chain = await link.issuer.issue(identity, csrPem, 3600)
      return certificateRequests.finish(owner, chain, Date.now())
    },
  }
}
