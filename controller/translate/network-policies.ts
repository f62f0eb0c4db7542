// SPDX-License-Identifier: Apache-2.0
// Which NetworkPolicy selects a pod. The mesh enforces none of them, the cluster's network does, and it sees nothing of what
// never leaves a node's ztunnel: whoever is selected takes no way past it. SPEC KUBERNETES networking/v1.
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { Fields } from './fields.ts'
import { satisfies } from './label-selector.ts'
import { Memo } from './memo.ts'
import { Notes } from './notes.ts'
import { type Labels, type Selector, SelectorIndex } from './selectors.ts'

const NETWORK_POLICY = kindKey('networking.k8s.io', 'NetworkPolicy')

/** The NetworkPolicies of one translation. */
export interface NetworkPolicies {
  /** The name of one that selects a pod with these labels; null: none does. */
  selecting(namespace: string, labels: Labels): string | null
  /** Everything that selecting() depends on for a namespace. */
  contextOf(namespace: string): readonly unknown[]
}

/** One policy, read. */
interface PodSelector {
  readonly name: string
  /** What it is found by; empty: it is compared with every pod. */
  readonly required: Selector
  readonly hasSelected: (labels: Labels) => boolean
}

interface OfNamespace {
  readonly byLabel: SelectorIndex<PodSelector>
  readonly others: PodSelector[]
  readonly all: PodSelector[]
}

/** Reads NetworkPolicies; across translations. */
export class NetworkPolicyStage {
  readonly #parts = new Memo<PodSelector>()

  run(view: ConfigView): NetworkPolicies {
    this.#parts.sweep()
    const byNamespace = new Map<string, OfNamespace>()
    for (const object of view.list(NETWORK_POLICY)) {
      const { namespace, name } = object.metadata
      const part = this.#parts.get(`${namespace}/${name}`, [object], () => readPodSelector(object))
      const known = byNamespace.get(namespace) ?? { byLabel: new SelectorIndex(), others: [], all: [] }
      byNamespace.set(namespace, known)
      known.all.push(part)
      if (part.required.size === 0) known.others.push(part)
      else known.byLabel.add(part.required, part)
    }
    return {
      selecting(namespace, labels) {
        const policies = byNamespace.get(namespace)
        if (policies === undefined) return null
        const hasSelected = (each: PodSelector): boolean => each.hasSelected(labels)
        const found = policies.others.find(hasSelected) ?? policies.byLabel.find(labels).find(hasSelected)
        return found?.name ?? null
      },
      contextOf: (namespace) => byNamespace.get(namespace)?.all ?? [],
    }
  }
}

/** A selector that cannot be read selects everybody: it may have meant anybody. */
function readPodSelector(policy: ConfigObject): PodSelector {
  const { name } = policy.metadata
  const notes = new Notes(policy)
  const selector = new Fields(policy.spec, 'spec', notes).fields('podSelector')
  const required = selector.textMap('matchLabels')
  satisfies(selector, {})
  if (notes.errors > 0) return { name, required: new Map(), hasSelected: () => true }
  return { name, required, hasSelected: (labels) => satisfies(selector, labels) }
}
