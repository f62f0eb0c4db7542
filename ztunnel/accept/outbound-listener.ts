// SPDX-License-Identifier: Apache-2.0
// Port 15001 of a pod: its redirected connections on their way out.

import { localAddress, originalDestination, peerAddress } from '../../mesh/reactor/socket-options.ts'
import { TcpDownstream } from '../carry/downstream.ts'
import { OutboundConnection } from '../carry/outbound-connection.ts'
import type { ServedPod } from '../carry/served-pod.ts'

/** Takes one accepted connection. */
export function acceptOutbound(pod: ServedPod, fd: number): void {
  const { reactor } = pod.context
  const client = peerAddress(fd) ?? { ip: '0.0.0.0', port: 0 }
  // SPEC HBONE §4.1: falls back to the local address, which is a port of the mesh and therefore refused as a loop.
  const destination = originalDestination(fd, client.ip) ?? localAddress(fd) ?? { ip: '0.0.0.0', port: 0 }
  new OutboundConnection(pod, new TcpDownstream(reactor, fd, pod.share), client, destination).start()
}
