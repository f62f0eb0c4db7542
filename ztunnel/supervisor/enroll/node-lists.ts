// SPDX-License-Identifier: Apache-2.0
// What the apiserver says of the pods of this node and of all namespaces: listed, then watched, and kept while it is away.
import type { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import {
  ListWatch,
  type ListWatchHandler,
  type ListWatchOptions,
  WATCH_TIMING,
  type WatchTiming,
} from '../../../mesh/kubernetes/list-watch.ts'
import { isMap, mapOf, type RawMap, textOf } from '../../../mesh/kubernetes/raw-map.ts'
import type { Clock } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { type AgentPod, readAgentPod } from './decide-enrolment.ts'

/** What the lists need. */
export interface NodeListsOptions {
  readonly client: KubernetesClient
  readonly nodeName: string
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
  readonly timing?: WatchTiming
}

/** Hears what has changed. */
export interface NodeListsHandler {
  /** All pods of the node. */
  onPods(pods: readonly AgentPod[]): void
  onPod(pod: AgentPod): void
  onPodGone(uid: string): void
  /** Labels of one namespace, or (undefined) of any. */
  onNamespace(name: string | undefined): void
}

/** run() once. */
export class NodeLists {
  readonly #options: NodeListsOptions
  readonly #handler: NodeListsHandler
  readonly #namespaces = new Map<string, RawMap>()
  #hasPods = false
  #hasNamespaces = false

  constructor(options: NodeListsOptions, handler: NodeListsHandler) {
    this.#options = options
    this.#handler = handler
  }

  /** Both have been listed since the start. */
  get isComplete(): boolean {
    return this.#hasPods && this.#hasNamespaces
  }

  /** undefined: no such namespace is known. */
  labelsOf(namespace: string): RawMap | undefined {
    return this.#namespaces.get(namespace)
  }

  /** What an earlier run knew, until it is listed. */
  restore(namespaces: Readonly<Record<string, RawMap>>): void {
    for (const [name, labels] of Object.entries(namespaces)) this.#namespaces.set(name, labels)
  }

  /** Ends when `signal` does. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#pods().run(signal), this.#allNamespaces().run(signal)])
  }

  #pods(): ListWatch<AgentPod | null> {
    const handler = this.#handler
    return new ListWatch(
      { ...this.#common(), fieldSelector: `spec.nodeName=${this.#options.nodeName}` },
      {
        ...this.#collection('/api/v1/pods', readAgentPod),
        onList: (all) => {
          this.#hasPods = true
          handler.onPods(all.filter((pod) => pod !== null))
        },
        onPut: (pod) => {
          if (pod !== null) handler.onPod(pod)
        },
        onRemove: (pod) => {
          if (pod !== null) handler.onPodGone(pod.info.uid)
        },
      },
    )
  }

  #allNamespaces(): ListWatch<NamespaceLabels> {
    return new ListWatch(this.#common(), {
      ...this.#collection('/api/v1/namespaces', readNamespace),
      onList: (all) => {
        this.#namespaces.clear()
        for (const { name, labels } of all) this.#namespaces.set(name, labels)
        this.#hasNamespaces = true
        this.#handler.onNamespace(undefined)
      },
      onPut: ({ name, labels }) => {
        this.#namespaces.set(name, labels)
        this.#handler.onNamespace(name)
      },
      onRemove: ({ name }) => {
        this.#namespaces.delete(name)
        this.#handler.onNamespace(name)
      },
    })
  }

  #common(): ListWatchOptions {
    const { client, clock, random, timing = WATCH_TIMING } = this.#options
    return { client, clock, random, timing }
  }

  #collection<T>(path: string, read: (object: unknown) => T) {
    const { log } = this.#options
    let failure: string | null = null
    return {
      path: () => path,
      read,
      onReachable: (detail, status) => {
        if (detail === failure) return
        failure = detail
        if (detail === null) log.info({ path }, 'the apiserver answers')
        else if (status === 401 || status === 403)
          log.error(
            { path, detail, reason: 'APISERVER_DENIED' },
            'the apiserver refuses the ztunnel; what is enrolled stays',
          )
        else
          log.warn(
            { path, detail, reason: 'APISERVER_UNAVAILABLE' },
            'the apiserver does not answer; what is enrolled stays',
          )
      },
      onMissing: (nextDelayMs) => nextDelayMs(),
    } satisfies Partial<ListWatchHandler<T>>
  }
}

interface NamespaceLabels {
  readonly name: string
  readonly labels: RawMap
}

function readNamespace(object: unknown): NamespaceLabels {
  const metadata = mapOf(isMap(object) ? object : {}, 'metadata')
  return { name: textOf(metadata, 'name'), labels: mapOf(metadata, 'labels') }
}
