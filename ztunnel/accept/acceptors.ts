// SPDX-License-Identifier: Apache-2.0
// Who takes what comes on which listener of a pod, and what it counts as.
import type { StreamKind } from '../../mesh/generations/pods.ts'
import type { AcceptKind } from '../../mesh/reactor/accept-share.ts'
import type { ServedPod } from '../carry/served-pod.ts'
import { acceptInbound } from './inbound-listener.ts'
import { acceptOutbound } from './outbound-listener.ts'
import { acceptPassthrough } from './passthrough-listener.ts'
import { acceptSocks5 } from './socks5-listener.ts'

type DnsKind = Extract<StreamKind, `dns-${string}`>

/** Takes an accepted connection; questions to the DNS go to the pod's server. */
export const ACCEPT: Readonly<Record<Exclude<StreamKind, DnsKind>, (pod: ServedPod, fd: number) => void>> = {
  outbound: acceptOutbound,
  inbound: acceptInbound,
  passthrough: acceptPassthrough,
  socks5: acceptSocks5,
}

/** In the shares of the workers. */
export const ACCEPT_KIND: Readonly<Record<StreamKind, AcceptKind>> = {
  outbound: 'stream',
  inbound: 'tunnel',
  passthrough: 'stream',
  socks5: 'stream',
  'dns-tcp': 'stream',
  'dns-tcp6': 'stream',
}
