// SPDX-License-Identifier: Apache-2.0
// Which policies a node needs: those of the mesh, of the namespaces of its workloads, and those its workloads name. No
// node learns the policies of others. A workload without a node may be anybody's, so its policies go to all. Pure.
import { type Authorization, Scope } from '../../proto/generated/istio/authorization_pb.js'
import type { Workload } from '../../proto/generated/istio/workload_pb.js'

/** Namespaces and policy names that the workloads of one node bring with them. */
interface NodeScope {
  readonly namespaces: ReadonlySet<string>
  readonly named: ReadonlySet<string>
  /** Grows whenever the other two differ from before. */
  readonly revision: number
}

const NOWHERE: NodeScope = { namespaces: new Set(), named: new Set(), revision: 0 }
/** Workloads that name no node. */
const ANY_NODE = ''

function isEqual(left: ReadonlySet<string>, right: ReadonlySet<string>): boolean {
  if (left.size !== right.size) return false
  for (const value of left) if (!right.has(value)) return false
  return true
}

export class NodeScopes {
  #scopes = new Map<string, NodeScope>()
  #global: string[] = []
  readonly #byNamespace = new Map<string, string[]>()
  readonly #selected = new Set<string>()
  #policyRevision = 0

  updateWorkloads(workloads: Iterable<Workload>): void {
    const found = new Map<string, { namespaces: Set<string>; named: Set<string> }>()
    for (const { node, namespace, authorizationPolicies } of workloads) {
      let scope = found.get(node)
      if (scope === undefined) {
        scope = { namespaces: new Set(), named: new Set() }
        found.set(node, scope)
      }
      scope.namespaces.add(namespace)
      for (const name of authorizationPolicies) scope.named.add(name)
    }
    const next = new Map<string, NodeScope>()
    for (const node of new Set([...found.keys(), ...this.#scopes.keys()])) {
      const before = this.#scopes.get(node) ?? NOWHERE
      const { namespaces, named } = found.get(node) ?? NOWHERE
      const isSame = isEqual(before.namespaces, namespaces) && isEqual(before.named, named)
      next.set(node, isSame ? before : { namespaces, named, revision: before.revision + 1 })
    }
    this.#scopes = next
  }

  updatePolicies(policies: ReadonlyMap<string, Authorization>): void {
    this.#policyRevision++
    this.#global = []
    this.#byNamespace.clear()
    this.#selected.clear()
    for (const [key, { scope, namespace }] of policies) {
      if (scope === Scope.GLOBAL) this.#global.push(key)
      else if (scope === Scope.WORKLOAD_SELECTOR) this.#selected.add(key)
      else {
        const list = this.#byNamespace.get(namespace)
        if (list === undefined) this.#byNamespace.set(namespace, [key])
        else list.push(key)
      }
    }
  }

  /** Differs after every change of what policiesOf() answers; `null`: a client of no node. */
  stampOf(node: string | null): number {
    if (node === null) return this.#policyRevision
    return this.#policyRevision + this.#of(node).revision + this.#of(ANY_NODE).revision
  }

  /** Names of the policies; all of them for a client that belongs to no node. */
  *policiesOf(node: string | null): Iterable<string> {
    yield* this.#global
    if (node === null) {
      for (const list of this.#byNamespace.values()) yield* list
      yield* this.#selected
      return
    }
    for (const { namespaces, named } of [this.#of(node), this.#of(ANY_NODE)]) {
      for (const namespace of namespaces) yield* this.#byNamespace.get(namespace) ?? []
      for (const name of named) if (this.#selected.has(name)) yield name
    }
  }

  #of(node: string): NodeScope {
    return this.#scopes.get(node) ?? NOWHERE
  }
}
