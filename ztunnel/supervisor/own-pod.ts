// SPDX-License-Identifier: Apache-2.0
// The pod of the ztunnel itself, as one that it serves: callers reach its status port, and nothing else of it, through a tunnel
// to an identity of its own. So it is scraped by mTLS, and policies say by whom, as with Istio's ztunnel.
import { isIP } from 'node:net'
import type { ZtunnelConfig } from '../config.ts'
import type { EnrolledPod } from './enrolment-file.ts'

/** Not that of the pod in the cluster: a next supervisor of the same pod knows it by this. */
export const OWN_POD_UID = 'sidestep.dev/ztunnel'

/** Null: it is not wanted, has nothing to show, or it is not known who and where it is; on the host's network it has no address. */
export function ownPod(config: ZtunnelConfig): EnrolledPod | null {
  const { ownListener, statusPort, podName, podNamespace, serviceAccount, instanceIp, hostIp } = config
  if (!ownListener || statusPort === 0 || isIP(instanceIp) === 0 || instanceIp === hostIp) return null
  if ([podName, podNamespace, serviceAccount].includes('')) return null
  return {
    ...{ uid: OWN_POD_UID, name: podName, namespace: podNamespace, serviceAccount },
    ...{ netns: null, address: instanceIp, onlyPort: statusPort },
  }
}
