// SPDX-License-Identifier: Apache-2.0
// What stands in the namespace of the node about its enrolled pods: probes are told apart, strict pods have a guard.
import type { AgentPod } from './decide-enrolment.ts'
import { readRedirectAnnotations } from './pod-redirect.ts'
import type { ProbeRules } from './probe-rules.ts'
import type { StrictGuard } from './strict-guard.ts'

/** What each of them hears. */
type Part = Pick<ProbeRules & StrictGuard, 'set' | 'remove' | 'sync' | 'close'>

export class HostRules {
  readonly #probes: Part
  readonly #guard: Part | null

  /** `guard` null: strict pods are strict by the rules inside them alone. */
  constructor(probes: Part, guard: Part | null) {
    this.#probes = probes
    this.#guard = guard
  }

  /** An enrolled pod as it is now. */
  set({ info: { uid }, ips, annotations }: AgentPod): void {
    this.#probes.set(uid, ips)
    // Inbound traffic that the mesh leaves alone is left alone here too.
    const isBypassed = readRedirectAnnotations(annotations)?.isInboundBypassed === true
    this.#guard?.set(uid, isBypassed ? [] : ips)
  }

  remove(uid: string): void {
    this.#guard?.remove(uid)
    this.#probes.remove(uid)
  }

  /** Mends what somebody has damaged. Never throws. */
  sync(): void {
    this.#probes.sync()
    this.#guard?.sync()
  }

  /** Takes everything away. */
  close(): void {
    this.#guard?.close()
    this.#probes.close()
  }
}
