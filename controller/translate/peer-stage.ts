// SPDX-License-Identifier: Apache-2.0
// All PeerAuthentications of the mesh: which one counts where. SPEC HBONE §9.5.
import type { Authorization } from '../../proto/generated/istio/authorization_pb.js'
import { type ConfigView, kindKey, refOf } from '../watch/config-object.ts'
import { compareAge } from './age.ts'
import { Memo } from './memo.ts'
import { Notes } from './notes.ts'
import {
  convertedName,
  convertPeer,
  inheritedStrict,
  type PeerPart,
  peerEffect,
  readPeer,
  staticStrict,
} from './peer-authentication.ts'
import { STATIC_STRICT_NAME } from './policy-names.ts'
import { type Labels, labelsOf, SelectorIndex } from './selectors.ts'
import type { ConfigFinding, PolicyEnforcement, TranslateSettings } from './translation.ts'

const PEER_AUTHENTICATION = kindKey('security.istio.io', 'PeerAuthentication')

export interface PeersResult {
  readonly messages: ReadonlyMap<string, Authorization>
  /** Keys of the policies that a workload names because of them. */
  namedBy(namespace: string, labels: Labels): readonly string[]
  /** Everything that namedBy() depends on. */
  readonly parts: readonly PeerPart[]
  readonly findings: readonly ConfigFinding[]
  readonly enforcement: readonly PolicyEnforcement[]
}

interface Ranked {
  readonly key: string
  readonly createdMs: number
  readonly part: PeerPart
}

const NOTHING: readonly string[] = []

export class PeerStage {
  readonly #settings: TranslateSettings
  readonly #static: Authorization
  readonly #parts = new Memo<PeerPart>()
  readonly #converted = new Memo<Authorization | null>()

  constructor(settings: TranslateSettings) {
    this.#settings = settings
    this.#static = staticStrict(settings.rootNamespace)
  }

  run(view: ConfigView): PeersResult {
    this.#parts.sweep()
    this.#converted.sweep()
    const { rootNamespace } = this.#settings
    const findings: ConfigFinding[] = []
    const enforcement: PolicyEnforcement[] = []
    const wide = new Map<string, PeerPart>() // by namespace; the root's is the mesh's
    const selected = new Map<string, SelectorIndex<Ranked>>()
    const ranked = this.#read(view)
    for (const each of ranked) {
      const { part } = each
      const { namespace } = part.object.metadata
      const refusal =
        part.selector !== null
          ? namespace === rootNamespace
            ? 'a selector has no meaning in the root namespace'
            : ''
          : wide.has(namespace)
            ? 'an older one holds for the same workloads'
            : ''
      findings.push(...part.findings, ...(refusal === '' ? [] : notApplied(part, refusal)))
      enforcement.push(enforcementOf(part, refusal, rootNamespace))
      if (refusal !== '') continue
      if (part.selector === null) wide.set(namespace, part)
      else {
        const index = selected.get(namespace) ?? new SelectorIndex<Ranked>()
        index.add(part.selector, each)
        selected.set(namespace, index)
      }
    }
    const mesh = wide.get(rootNamespace)
    const ofNamespace = (name: string): PeerPart | undefined =>
      name === rootNamespace ? undefined : wide.get(name)
    const namedBy = (namespace: string, labels: Labels): readonly string[] => {
      if (ranked.length === 0) return NOTHING
      const own = selected.get(namespace)?.find(labels).toSorted(compareAge)[0]?.part
      const { isStrict, converted } = peerEffect(mesh, ofNamespace(namespace), own)
      if (converted !== null) return [`${namespace}/${convertedName(converted.object.metadata.name)}`]
      return isStrict ? [`${rootNamespace}/${STATIC_STRICT_NAME}`] : NOTHING
    }
    const parts = ranked.map(({ part }) => part)
    return { messages: this.#messages(ranked, mesh, ofNamespace), namedBy, parts, findings, enforcement }
  }

  #read(view: ConfigView): Ranked[] {
    const read = view.list(PEER_AUTHENTICATION).map((object) => {
      const key = `${object.metadata.namespace}/${object.metadata.name}`
      const part = this.#parts.get(key, [object], () => readPeer(object))
      return { key, createdMs: object.metadata.createdMs, part }
    })
    return read.toSorted(compareAge)
  }

  #messages(
    ranked: readonly Ranked[],
    mesh: PeerPart | undefined,
    ofNamespace: (name: string) => PeerPart | undefined,
  ): ReadonlyMap<string, Authorization> {
    const messages = new Map<string, Authorization>()
    if (ranked.length === 0) return messages
    messages.set(`${this.#static.namespace}/${this.#static.name}`, this.#static)
    for (const { key, part } of ranked) {
      const { namespace } = part.object.metadata
      if (part.selector === null || namespace === this.#settings.rootNamespace) continue
      const isStrict = inheritedStrict(mesh, ofNamespace(namespace))
      const message = this.#converted.get(key, [part, isStrict], () => convertPeer(part, isStrict))
      if (message !== null) messages.set(`${namespace}/${message.name}`, message)
    }
    return messages
  }
}

function notApplied({ object }: PeerPart, why: string): ConfigFinding[] {
  const notes = new Notes(object)
  notes.add('PEER_NOT_APPLIED', '', `it has no effect: ${why}`, 'remove it, or mend its selector')
  return notes.findings
}

function enforcementOf(
  { object, isBroken, selector }: PeerPart,
  refusal: string,
  rootNamespace: string,
): PolicyEnforcement {
  const ref = refOf(object)
  const nowhere = { caveat: null, selects: null, waypoints: [] }
  const { generation } = object.metadata
  if (refusal !== '') return { object: ref, generation, kind: 'nowhere', message: refusal, ...nowhere }
  const namespace = ref.namespace === rootNamespace ? null : ref.namespace
  const selects = { namespace, labels: labelsOf(selector) }
  const place = { object: ref, generation, selects, waypoints: [] }
  return isBroken
    ? { ...place, kind: 'refused', message: 'it cannot be read: plaintext is refused', caveat: 'unreadable' }
    : { ...place, kind: 'exact', message: 'enforced by ztunnels', caveat: null }
}
