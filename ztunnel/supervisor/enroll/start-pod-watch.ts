// SPDX-License-Identifier: Apache-2.0
// The agent of a node with what it needs around it. Apart from the supervisor, which loads this only when it is wanted.
import { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { type ApiserverAddress, serviceAccountAccess } from '../../../mesh/kubernetes/service-account.ts'
import { SavedPods, type SavedPodsOptions } from '../../snapshot/saved-pods.ts'
import { HostRules } from './host-rules.ts'
import { PodEvents } from './pod-events.ts'
import { PodWatch, type PodWatchOptions } from './pod-watch.ts'
import { ProbeRules } from './probe-rules.ts'
import type { StrictGuard } from './strict-guard.ts'

/** Where the apiserver is, and who asks. */
export interface PodWatchPlace
  extends ApiserverAddress,
    Pick<PodWatchOptions, 'nodeName' | 'procPath' | 'roster' | 'clock' | 'log' | 'onChange'> {
  /** Directory of token and root certificate. */
  readonly serviceAccountDirectory: string
  /** Network namespace of the node; '' when the rules of pods are somebody else's. */
  readonly hostNetworkPath: string
  /** Null: strict pods are strict by the rules inside them alone. */
  readonly guard: StrictGuard | null
  /** Where the list of pods is kept. */
  readonly saved: SavedPodsOptions['place']
}

/** A watch, and what it asks the apiserver with. */
export interface StartedPodWatch {
  readonly watch: PodWatch
  readonly client: KubernetesClient
}

/** Starts it; nothing has been answered yet, but what an earlier run has left is being enrolled. */
export async function startPodWatch(place: PodWatchPlace): Promise<StartedPodWatch> {
  const { clock, serviceAccountDirectory, hostNetworkPath, guard, log } = place
  const client = new KubernetesClient(serviceAccountAccess(place, serviceAccountDirectory), clock)
  const host = hostNetworkPath === '' ? null : new HostRules(new ProbeRules(hostNetworkPath, log), guard)
  const events = new PodEvents({ ...place, client })
  const saved = new SavedPods({ place: place.saved, clock, log })
  const watch = new PodWatch({ ...place, client, host, events, saved, random: Math.random })
  await watch.start()
  return { watch, client }
}
