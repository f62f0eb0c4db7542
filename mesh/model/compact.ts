// SPDX-License-Identifier: Apache-2.0
// The same text once: ten thousand workloads name a few hundred namespaces, accounts, nodes and services over and over,
// and each comes off the wire as a text of its own. Values stay equal; only what is the same becomes one object.
import type { Locality, PortMap, Workload } from './workload.ts'

/** Texts remembered; then it begins anew, so that names of what is gone are not kept for ever. */
const MAX_TEXTS = 65_536

const NO_TEXTS: readonly string[] = Object.freeze([])

/** Remembers what it has seen. */
export class TextPool {
  #texts = new Map<string, string>()
  #localities = new Map<string, Locality>()
  #services = new Map<string, Readonly<Record<string, PortMap>>>()

  /** The one text that is equal to this. */
  text(text: string): string {
    const known = this.#texts.get(text)
    if (known !== undefined) return known
    if (this.#texts.size >= MAX_TEXTS) this.#clear()
    this.#texts.set(text, text)
    return text
  }

  /** An equal workload that shares what it has in common with earlier ones. */
  workload(workload: Workload): Workload {
    const { locality, services, authorizationPolicies, name } = workload
    const policies = authorizationPolicies.map((policy) => this.text(policy))
    const same = (text: string): string => (text === name ? name : this.text(text))
    return {
      ...workload,
      namespace: this.text(workload.namespace),
      serviceAccount: this.text(workload.serviceAccount),
      trustDomain: this.text(workload.trustDomain),
      hostname: same(workload.hostname),
      network: this.text(workload.network),
      node: this.text(workload.node),
      clusterId: this.text(workload.clusterId),
      locality: shared(this.#localities, JSON.stringify(locality), locality),
      services: shared(this.#services, JSON.stringify(services), services),
      authorizationPolicies: policies.length === 0 ? NO_TEXTS : policies,
      workloadName: same(workload.workloadName),
      workloadType: this.text(workload.workloadType),
      canonicalName: same(workload.canonicalName),
      canonicalRevision: this.text(workload.canonicalRevision),
    }
  }

  #clear(): void {
    this.#texts = new Map()
    this.#localities = new Map()
    this.#services = new Map()
  }
}

function shared<T>(known: Map<string, T>, key: string, value: T): T {
  const first = known.get(key)
  if (first !== undefined) return first
  if (known.size >= MAX_TEXTS) known.clear()
  known.set(key, value)
  return value
}
