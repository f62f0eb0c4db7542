// SPDX-License-Identifier: Apache-2.0
// What a drain waits for: the connections of pods, oldest first, and tunnels whose peers have not closed them yet.
import type { ConnectionReport, HolderReport } from '../worker-messages.ts'
import type { ServedPod } from './served-pod.ts'

/** Connections of a worker that are named; all are counted. */
export const MAX_HOLDERS = 500

/** Of all pods of one worker. */
export function reportHolders(
  pods: Iterable<Pick<ServedPod, 'info' | 'connections'>>,
  worker: number,
): HolderReport {
  const connections: ConnectionReport[] = []
  let connectionCount = 0
  let tunnelCount = 0
  for (const { info, connections: open } of pods)
    for (const each of open) {
      const report = each.report()
      if (report !== null) {
        connectionCount++
        // What is kept is bounded, however many there are.
        connections.push({ worker, uid: info.uid, ...report })
        if (connections.length >= 2 * MAX_HOLDERS) keepOldest(connections)
      } else tunnelCount++
    }
  keepOldest(connections)
  return { connections, connectionCount, tunnelCount }
}

function keepOldest(connections: ConnectionReport[]): void {
  connections.sort((left, right) => right.ageMs - left.ageMs)
  connections.splice(MAX_HOLDERS)
}
