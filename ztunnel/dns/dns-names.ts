// SPDX-License-Identifier: Apache-2.0
// Under which names a question is looked up. Pods ask by short names and their resolvers append search domains, so one
// service is asked for in half a dozen ways. SPEC HBONE §8. Pure.

/** One name to look up. */
export interface NameCandidate {
  /** Without wildcard: what the question means. */
  readonly name: string
  /** What a service may be called: the name, then `*.` in place of its first labels. */
  readonly hosts: readonly string[]
  /** The question carried a search domain that was taken off: the answer says so by a CNAME to `name`. */
  readonly isStripped: boolean
}

/** Whose names they are. */
export interface NameContext {
  /** Of the pod that asks. */
  readonly namespace: string
  /** `cluster.local`. */
  readonly clusterDomain: string
}

/** Labels of a name at most: longer ones are nobody's service. */
const MAX_LABELS = 16

/** The candidates in their order; `name` is lower case without the last dot. */
export function nameCandidates(name: string, context: NameContext): readonly NameCandidate[] {
  if (name.split('.').length > MAX_LABELS) return []
  const seen = new Set<string>()
  const found: NameCandidate[] = []
  const add = (text: string, isStripped: boolean): void => {
    for (const each of [text, ...expansions(text, context)]) {
      if (seen.has(each)) continue
      seen.add(each)
      found.push({ name: each, hosts: withWildcards(each), isStripped })
    }
  }
  add(name, false)
  const { namespace, clusterDomain } = context
  for (const domain of [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain])
    if (name.endsWith(`.${domain}`)) add(name.slice(0, -domain.length - 1), true)
  return found
}

/** What Kubernetes' own search list makes of a short name, by its labels. */
function expansions(name: string, { namespace, clusterDomain }: NameContext): readonly string[] {
  const labels = name.split('.')
  const isSvc = labels.at(-1) === 'svc'
  switch (labels.length) {
    case 1:
      return [`${name}.${namespace}.svc.${clusterDomain}`]
    case 2:
      return [`${name}.svc.${clusterDomain}`, `${name}.${namespace}.svc.${clusterDomain}`]
    case 3:
      return [...(isSvc ? [`${name}.${clusterDomain}`] : []), `${name}.svc.${clusterDomain}`]
    case 4:
      return isSvc ? [`${name}.${clusterDomain}`] : []
    default:
      return []
  }
}

function withWildcards(name: string): readonly string[] {
  const labels = name.split('.')
  return [name, ...labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join('.')}`)]
}
