// SPDX-License-Identifier: Apache-2.0
// An apiserver as source of configuration: one list-watch per kind.

import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { kindKey } from './config-object.ts'
import type { ConfigSink, ConfigSource } from './config-source.ts'
import { WATCHED_KINDS, type WatchedKind } from './kinds.ts'
import { KIND_TIMING, type KindTiming, KubernetesKind } from './kubernetes-kind.ts'

/** What a source needs. */
export interface KubernetesSourceOptions {
  readonly client: KubernetesClient
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly timing?: Partial<KindTiming>
}

/** Watches every kind of WATCHED_KINDS. It is unreachable while any of them cannot be read. */
export class KubernetesSource implements ConfigSource {
  readonly name = 'kubernetes'
  readonly #options: KubernetesSourceOptions
  readonly #stopped = new AbortController()
  readonly #kinds: KubernetesKind[] = []
  /** Kinds that cannot be read now, and why. */
  readonly #failing = new Map<string, string>()
  #unlisted = WATCHED_KINDS.length
  #isReachable = true
  #work: Promise<unknown> = Promise.resolve()

  constructor(options: KubernetesSourceOptions) {
    this.#options = options
  }

  start(sink: ConfigSink): void {
    for (const kind of WATCHED_KINDS) this.#kinds.push(this.#open(kind, sink))
    this.#work = Promise.all(this.#kinds.map((kind) => kind.run(this.#stopped.signal)))
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#work
  }

  #open(kind: WatchedKind, sink: ConfigSink): KubernetesKind {
    const { client, clock, random, timing } = this.#options
    const key = kindKey(kind.group, kind.kind)
    const listener = {
      onListed: () => {
        this.#unlisted--
        if (this.#unlisted === 0) sink.synced()
      },
      onMistakes: () => sink.mistakes(this.#kinds.flatMap(({ cache }) => cache.mistakes)),
      onReachable: (detail: string | null) => {
        if (detail === null) this.#failing.delete(key)
        else this.#failing.set(key, detail)
        const isReachable = this.#failing.size === 0
        if (isReachable === this.#isReachable) return
        this.#isReachable = isReachable
        sink.reachable(isReachable ? null : `${key}: ${detail}`)
      },
    }
    return new KubernetesKind(kind, client, sink, listener, clock, { ...KIND_TIMING, ...timing }, random)
  }
}
