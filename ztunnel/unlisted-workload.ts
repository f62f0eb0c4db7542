// SPDX-License-Identifier: Apache-2.0
// The ztunnel's own pod as a workload where no configuration names it: it has an identity and its namespace's policies all the
// same. Pure.

import type { PodInfo } from '../mesh/generations/pods.ts'
import { WORKLOAD_DEFAULTS, type Workload } from '../mesh/model/workload.ts'
import type { ZtunnelConfig } from './config.ts'

/** What is known of it without a configuration. */
export function unlistedWorkload(
  { uid, name, namespace, serviceAccount }: PodInfo,
  config: Pick<ZtunnelConfig, 'clusterId' | 'instanceIp' | 'network' | 'nodeName' | 'trustDomain'>,
): Workload {
  const { clusterId, instanceIp, network, nodeName: node, trustDomain } = config
  return {
    ...WORKLOAD_DEFAULTS,
    ...{ uid, name, namespace, serviceAccount, trustDomain, clusterId, network, node },
    workloadIps: [instanceIp],
    protocol: 'HBONE',
    workloadName: 'ztunnel',
    workloadType: 'pod',
    canonicalName: 'ztunnel',
  }
}
