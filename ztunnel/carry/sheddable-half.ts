// SPDX-License-Identifier: Apache-2.0
// How a connection gives way when the node has little left: only when one half of it has ended and nothing moves.
import type { Relay } from '../../mesh/reactor/relay.ts'
import type { Sheddable } from './node-pressure.ts'
import type { PodConnection } from './served-pod.ts'

/** The connection of `relay` as something that can give way; null while both its halves are open. */
export function sheddableHalf(
  connection: Pick<PodConnection, 'abort'>,
  relay: Pick<Relay, 'halfClosedStallMs'> | null,
): Sheddable | null {
  const stalledMs = relay?.halfClosedStallMs ?? 0
  if (stalledMs === 0) return null
  const end = (): void =>
    connection.abort({ code: 'LIMIT_NODE', detail: 'half closed and still, while the node had little left' })
  return { kind: 'half-closed', stalledMs, end }
}
