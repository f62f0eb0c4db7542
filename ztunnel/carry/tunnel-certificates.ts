// SPDX-License-Identifier: Apache-2.0
// Which certificates the open tunnels of a worker were made with, counted. Read from the connections themselves, some of
// them per turn: traffic goes on meanwhile.
import type { PresentedCertificate } from '../../mesh/reactor/presented-certificate.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'

/** Connections looked at in one turn: about a millisecond. */
const CONNECTIONS_PER_TURN = 64
/** Different pairs of certificates that are told apart; tunnels of further ones are counted together. */
export const MAX_TUNNEL_KINDS = 1000

/** Open tunnels that were made with the same two certificates. */
export interface TunnelCertificates {
  readonly role: 'client' | 'server'
  readonly own: PresentedCertificate
  readonly peer: PresentedCertificate
  readonly count: number
}

const NOTHING: PresentedCertificate = { identity: '', serialNumber: '' }

/** Counts the tunnels that are open now; `onCounted` is called once, in this turn or a later one. */
export function countTunnelCertificates(
  reactor: Reactor,
  onCounted: (counted: readonly TunnelCertificates[]) => void,
): void {
  const sockets = reactor.watchers.filter((watcher) => watcher instanceof TlsSocket)
  const counted = new Map<string, TunnelCertificates>()
  const next = (): void => {
    for (const socket of sockets.splice(0, CONNECTIONS_PER_TURN)) count(counted, socket)
    if (sockets.length > 0) reactor.inNextTurn(next)
    else onCounted([...counted.values()])
  }
  next()
}

function count(counted: Map<string, TunnelCertificates>, socket: TlsSocket): void {
  const certificates = socket.certificates()
  if (certificates === null) return
  const { role } = certificates
  const { own, peer } = { own: certificates.own ?? NOTHING, peer: certificates.peer ?? NOTHING }
  const key = [role, own.identity, own.serialNumber, peer.identity, peer.serialNumber].join(' ')
  const isKnown = counted.has(key)
  const isOther = !isKnown && counted.size >= MAX_TUNNEL_KINDS
  const before = counted.get(isOther ? role : key)?.count ?? 0
  const pair = isOther ? { own: NOTHING, peer: NOTHING } : { own, peer }
  counted.set(isOther ? role : key, { role, ...pair, count: before + 1 })
}
