// SPDX-License-Identifier: Apache-2.0
// Port 15008 of a pod: tunnels of peers.
import { localAddress, peerAddress } from '../../mesh/reactor/socket-options.ts'
import { InboundTunnel } from '../carry/inbound-tunnel.ts'
import type { ServedPod } from '../carry/served-pod.ts'

/** Takes one accepted connection. */
export function acceptInbound(pod: ServedPod, fd: number): void {
  const client = peerAddress(fd) ?? { ip: '0.0.0.0', port: 0 }
  new InboundTunnel(pod, fd, client, localAddress(fd)?.ip ?? '')
}
