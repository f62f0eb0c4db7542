// SPDX-License-Identifier: Apache-2.0
// The agent of a node with what it needs around it. Apart from the supervisor, which loads this only when it is wanted.
import { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { type ApiserverAddress, serviceAccountAccess } from '../../../mesh/kubernetes/service-account.ts'
import { PodWatch, type PodWatchOptions } from './pod-watch.ts'

/** Where the apiserver is, and who asks. */
export interface PodWatchPlace
  extends ApiserverAddress,
    Pick<PodWatchOptions, 'nodeName' | 'procPath' | 'roster' | 'clock' | 'log'> {
  /** Directory of token and root certificate. */
  readonly serviceAccountDirectory: string
}

/** Starts it; nothing has been answered yet. */
export function startPodWatch(place: PodWatchPlace): PodWatch {
  const { clock, serviceAccountDirectory } = place
  const client = new KubernetesClient(serviceAccountAccess(place, serviceAccountDirectory), clock)
  const watch = new PodWatch({ ...place, client, random: Math.random })
  watch.start()
  return watch
}
