// SPDX-License-Identifier: Apache-2.0
// What pods of this node do now: who listens in their namespaces, what was counted of their connections. Looked at when
// somebody asks, never before.

import { isDatagramKind, LISTENER_PORTS, type PodInfo } from '../mesh/generations/pods.ts'
import { type ListeningSocket, readListeningSockets } from '../mesh/reactor/listening-sockets.ts'
import { NetworkNamespace } from '../mesh/reactor/netns.ts'
import type { App } from './app.ts'
import { type PodActivity, podListeners } from './decide/pod-listeners.ts'

/** Answers of one moment: counters are summed once for all pods. */
export function podActivity(app: App): (pod: PodInfo) => PodActivity {
  let counts: ReturnType<App['workers']['counters']['pods']> | null = null
  return (pod) => {
    counts ??= app.workers.counters.pods()
    const refusals = Object.entries(app.workers.accounts.refusals(pod.uid))
    return {
      listeners: listenersOf(app, pod),
      counts: counts.get(`${pod.namespace}/${pod.name}`) ?? [],
      limited: Object.fromEntries(refusals.filter(([, count]) => count > 0)),
    }
  }
}

function listenersOf(app: App, pod: PodInfo): PodActivity['listeners'] {
  const opened = app.socketsOf(pod.uid)
  if (opened === undefined) return null
  const { namespaceFd, listeners } = opened
  let sockets: readonly ListeningSocket[]
  try {
    sockets =
      namespaceFd === null
        ? readListeningSockets()
        : NetworkNamespace.fromDescriptor(namespaceFd).run(readListeningSockets)
  } catch (error) {
    app.log.warn({ uid: pod.uid, err: error }, 'listeners of a pod cannot be seen')
    return null
  }
  const kinds = [...listeners.keys()].filter((kind) => !isDatagramKind(kind))
  const own = app.model.state?.ownWorkload(pod.namespace, pod.name, pod.serviceAccount)
  return podListeners(sockets, {
    mesh: new Map(kinds.map((kind) => [kind, LISTENER_PORTS[kind]])),
    services: own?.services ?? {},
    isShared: namespaceFd === null,
  })
}
