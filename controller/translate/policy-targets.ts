// SPDX-License-Identifier: Apache-2.0
// What an AuthorizationPolicy with targetRefs is about, and where among it no waypoint enforces the policy.
// SPEC HBONE §9.4.
import type { Fields } from './fields.ts'
import { quote } from './notes.ts'

const KINDS = ['Service', 'ServiceEntry', 'Gateway', 'GatewayClass'] as const
const GROUPS: Readonly<Record<TargetKind, readonly string[]>> = {
  Service: ['', 'core'],
  ServiceEntry: ['networking.istio.io'],
  Gateway: ['gateway.networking.k8s.io'],
  GatewayClass: ['gateway.networking.k8s.io'],
}

/** Fields of a target. */
export const TARGET_FIELDS = ['group', 'kind', 'name', 'namespace']

export type TargetKind = (typeof KINDS)[number]

export interface PolicyTarget {
  readonly kind: TargetKind
  readonly name: string
  readonly path: string
}

/** A service that a policy is about. */
export interface TargetedService {
  /** `<namespace>/<hostname>`. */
  readonly key: string
  /** A waypoint has its traffic. */
  readonly isBound: boolean
  /** Ports of its workloads, ascending. */
  readonly ports: readonly number[]
}

/** What a target comes to. */
export interface FoundTarget {
  readonly services: readonly TargetedService[]
  /** Waypoints that decide for it, `<namespace>/<name>`. */
  readonly waypoints: readonly string[]
  /** Waypoints, `<namespace>/<name>`, that workloads ask for and are not given: nobody decides in front of those. */
  readonly missing: readonly string[]
  /** Principals of the waypoints that are meant: what comes from one of them has been decided by the policy. */
  readonly deciders: readonly string[]
}

/** What a target is known for; undefined: there is none. */
export type FindTarget = (target: PolicyTarget, namespace: string) => FoundTarget | undefined

/** The targets of a policy; empty when it has none. Those that cannot be read are noted: `isBroken`. */
export function readTargets(spec: Fields, home: string): { targets: PolicyTarget[]; isBroken: boolean } {
  const before = spec.notes.errors
  const single = spec.raw('targetRef') === undefined ? [] : [spec.fields('targetRef')]
  const targets = [...single, ...spec.items('targetRefs')].flatMap((ref) => readTarget(ref, home))
  return { targets, isBroken: spec.notes.errors > before }
}

function readTarget(ref: Fields, home: string): PolicyTarget[] {
  ref.refuseUnknown(TARGET_FIELDS)
  const kind = ref.oneOf('kind', KINDS, null)
  const name = ref.text('name')
  const refuse = (key: string, message: string, fix: string): PolicyTarget[] => {
    ref.notes.add('INVALID_VALUE', ref.pathOf(key), message, fix)
    return []
  }
  if (kind === null) return refuse('kind', 'the target has no kind', `use one of ${KINDS.join(', ')}`)
  if (name === '') return refuse('name', 'the target has no name', 'name it')
  const group = ref.text('group')
  if (!GROUPS[kind].includes(group)) {
    return refuse(
      'group',
      `${quote(group)} is not the group of ${kind}`,
      `use ${quote(GROUPS[kind][0] ?? '')}`,
    )
  }
  const namespace = ref.text('namespace')
  if (namespace !== '' && namespace !== home) {
    return refuse('namespace', 'the target is in another namespace', 'write the policy beside its target')
  }
  return [{ kind, name, path: ref.path }]
}
