// SPDX-License-Identifier: Apache-2.0
// What one worker could give up when its node runs out of something, and who holds most of it.
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import type { PressureSource, Sheddable } from './node-pressure.ts'
import type { ServedPod } from './served-pod.ts'

/** What it needs of a worker. */
export interface PressedWorker {
  readonly reactor: Reactor
  readonly resources: SessionResources
  readonly pods: () => Iterable<ServedPod>
  readonly onShed: PressureSource<number>['onShed']
}

/** Looks at the pods of a worker; pods go by their number. */
export function pressureSource({ reactor, resources, pods, onShed }: PressedWorker): PressureSource<number> {
  return {
    nowMs: () => reactor.nowMs,
    bufferedShare: () => resources.inboundUsedBytes / resources.inboundLimitBytes,
    candidates: () => [...pods()].flatMap((pod) => candidatesOf(pod, reactor.nowMs)),
    holdings: (what) =>
      [...pods()].map((pod) => ({
        pod: pod.number,
        held: what === 'bytes' ? pod.budget.usedBytes : pod.account.openCount,
      })),
    onShed,
  }
}

function candidatesOf(pod: ServedPod, nowMs: number): readonly Sheddable[] {
  const dialled = pod.tunnels
    .idle()
    .map(({ idleSinceMs, end }): Sheddable => ({ kind: 'idle-tunnel', stalledMs: nowMs - idleSinceMs, end }))
  return [...dialled, ...[...pod.connections].flatMap(({ sheddable }) => sheddable ?? [])]
}
