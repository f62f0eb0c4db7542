// SPDX-License-Identifier: Apache-2.0
// The data process's part in the guard of strict pods: says which ports take no plaintext, and books what the guard refuses,
// each as the connection it would have been inside the pod.
import { isDeepStrictEqual } from 'node:util'
import { closedPorts } from '../mesh/authz/closed-ports.ts'
import type { DataMessage, SupervisorMessage } from '../mesh/generations/pods.ts'
import type { Policy } from '../mesh/model/policy.ts'
import type { PortSet } from '../mesh/net/port-set.ts'
import type { DownMessage } from './worker-messages.ts'

/** What the supervisor tells of its guard. */
export type GuardMessage = Extract<SupervisorMessage, { type: `guard-${string}` }>

export interface GuardReportsOptions {
  readonly send: (message: DataMessage) => void
  /** To one worker: records and counters are theirs. */
  readonly post: (message: DownMessage) => void
}

/** Of all pods of the process. */
export class GuardReports {
  readonly #options: GuardReportsOptions
  readonly #told = new Map<string, PortSet>()
  /** Connections refused since the process began, by uid of the pod. */
  readonly counts = new Map<string, number>()

  constructor(options: GuardReportsOptions) {
    this.#options = options
  }

  /** The policies in force at a pod. */
  describe(uid: string, policies: readonly Policy[]): void {
    const ports = closedPorts(policies)
    if (isDeepStrictEqual(this.#told.get(uid), ports)) return
    this.#told.set(uid, ports)
    this.#options.send({ type: 'closed-ports', uid, ports })
  }

  /** What was said of a pod; null before anything was. */
  told(uid: string): PortSet | null {
    return this.#told.get(uid) ?? null
  }

  /** The pod is served no more. */
  forget(uid: string): void {
    this.#told.delete(uid)
    this.counts.delete(uid)
  }

  onMessage(message: GuardMessage): void {
    const { uid } = message
    if (!this.#told.has(uid)) return // it has gone meanwhile
    if (message.type === 'guard-refused') this.#options.post(message)
    else this.counts.set(uid, (this.counts.get(uid) ?? 0) + message.count)
  }
}
