// SPDX-License-Identifier: Apache-2.0
// All policies of the mesh, and which of them a workload has to name.
import { equals } from '@bufbuild/protobuf'
import { type Authorization, AuthorizationSchema } from '../../proto/generated/istio/authorization_pb.js'
import {
  type RequestPolicy,
  RequestPolicySchema,
} from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { targetsOf, translatePolicy } from './authorization.ts'
import { Memo } from './memo.ts'
import { PeerStage } from './peer-stage.ts'
import type { PolicyPart } from './policy-draft.ts'
import type { FindTarget, FoundTarget, PolicyTarget } from './policy-targets.ts'
import { type Labels, SelectorIndex } from './selectors.ts'
import type { ServiceInfo } from './service-info.ts'
import type { ConfigFinding, PolicyEnforcement, TranslateSettings } from './translation.ts'

const AUTHORIZATION_POLICY = kindKey('security.istio.io', 'AuthorizationPolicy')

export interface PoliciesResult {
  /** By `<namespace>/<name>`. */
  readonly messages: ReadonlyMap<string, Authorization>
  /** Keys of the policies that a workload names, in order. `missing` is the waypoint that it is not given. */
  namedBy(
    namespace: string,
    labels: Labels,
    services: readonly ServiceInfo[],
    missing: string | null,
  ): readonly string[]
  /** Everything that namedBy() depends on for a namespace: what is the same as before gives the same names. */
  contextOf(namespace: string): readonly unknown[]
  readonly findings: readonly ConfigFinding[]
  readonly enforcement: readonly PolicyEnforcement[]
  /** Policies with targets, the oldest keys first. */
  readonly targeted: readonly TargetedPart[]
}

/** What waypoints are told of one policy, and where. */
export interface TargetedPart {
  readonly request: RequestPolicy
  readonly targets: readonly PolicyTarget[]
  /** Of each target. */
  readonly found: readonly (FoundTarget | undefined)[]
}

const NOTHING: readonly string[] = []

/** A policy that workloads name; another object when it selects others. */
interface SelectingPolicy {
  readonly key: string
}

export class PolicyStage {
  readonly #settings: TranslateSettings
  readonly #peers: PeerStage
  readonly #targets = new Memo<readonly PolicyTarget[]>()
  readonly #selecting = new Memo<SelectingPolicy>()
  readonly #texts = new WeakMap<FoundTarget, string>()
  readonly #policies = new Memo<PolicyPart>(keepEqualPolicy)

  constructor(settings: TranslateSettings) {
    this.#settings = settings
    this.#peers = new PeerStage(settings)
  }

  run(view: ConfigView, find: FindTarget): PoliciesResult {
    this.#targets.sweep()
    this.#policies.sweep()
    this.#selecting.sweep()
    const peers = this.#peers.run(view)
    const messages = new Map(peers.messages)
    const findings: ConfigFinding[] = [...peers.findings]
    const enforcement: PolicyEnforcement[] = [...peers.enforcement]
    const selectors = new Map<string, SelectorIndex<SelectingPolicy>>()
    const byService = new Map<string, string[]>()
    const byWaypoint = new Map<string, string[]>()
    const forTargets: PolicyPart[] = []
    const targeted: TargetedPart[] = []
    for (const policy of view.list(AUTHORIZATION_POLICY)) {
      const { part, targets, found } = this.#translate(policy, find)
      if (part.request !== null) targeted.push({ request: part.request, targets, found })
      for (const message of part.messages) {
        const key = `${message.namespace}/${message.name}`
        messages.set(key, message)
        if (part.selector !== null) {
          const { namespace } = policy.metadata
          const index = selectors.get(namespace) ?? new SelectorIndex<SelectingPolicy>()
          index.add(
            part.selector,
            this.#selecting.get(key, [part.selector], () => ({ key })),
          )
          selectors.set(namespace, index)
        }
      }
      for (const { name, services, waypoints } of part.users) {
        const key = `${policy.metadata.namespace}/${name}`
        for (const service of services) append(byService, service, key)
        for (const waypoint of waypoints) append(byWaypoint, waypoint, key)
      }
      if (part.users.length > 0) forTargets.push(part)
      for (const finding of part.findings) findings.push(finding)
      enforcement.push(part.enforcement)
    }
    const ofMesh = selectors.get(this.#settings.rootNamespace)
    const namedBy: PoliciesResult['namedBy'] = (namespace, labels, services, missing) => {
      const ofNamespace = namespace === this.#settings.rootNamespace ? undefined : selectors.get(namespace)
      const peer = peers.namedBy(namespace, labels)
      if (ofNamespace === undefined && ofMesh === undefined && forTargets.length === 0) return peer
      const named = new Set<string>(peer)
      for (const { key } of ofNamespace?.find(labels) ?? []) named.add(key)
      for (const { key } of ofMesh?.find(labels) ?? []) named.add(key)
      for (const { key } of services) for (const each of byService.get(key) ?? NOTHING) named.add(each)
      if (missing !== null) for (const each of byWaypoint.get(missing) ?? NOTHING) named.add(each)
      return [...named].toSorted()
    }
    const contextOf = (namespace: string): unknown[] => [
      ...peers.parts,
      ...forTargets,
      ...(ofMesh?.items ?? []),
      ...(selectors.get(namespace)?.items ?? []),
    ]
    return { messages, namedBy, contextOf, findings, enforcement, targeted }
  }

  /** Text, so that services that are the same by now do not count as changed; one for all policies of a target. */
  #textOf(found: FoundTarget | undefined): string {
    if (found === undefined) return ''
    const text = this.#texts.get(found) ?? JSON.stringify(found)
    this.#texts.set(found, text)
    return text
  }

  #translate(policy: ConfigObject, find: FindTarget): Translated {
    const { namespace, name } = policy.metadata
    const key = `${namespace}/${name}`
    const targets = this.#targets.get(key, [policy], () => targetsOf(policy))
    const found = targets.map((target) => find(target, namespace))
    const part = this.#policies.get(key, [policy, ...found.map((each) => this.#textOf(each))], () =>
      translatePolicy(policy, this.#settings.rootNamespace, found),
    )
    return { part, targets, found }
  }
}

interface Translated extends Pick<TargetedPart, 'targets' | 'found'> {
  readonly part: PolicyPart
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

function keepEqualPolicy(old: PolicyPart, fresh: PolicyPart): PolicyPart {
  const messages = fresh.messages.map((each, index) => {
    const before = old.messages[index]
    return before !== undefined && equals(AuthorizationSchema, before, each) ? before : each
  })
  const { request: last } = old
  const { request } = fresh
  const isSame = last !== null && request !== null && equals(RequestPolicySchema, last, request)
  return { ...fresh, messages, request: isSame ? last : request }
}
