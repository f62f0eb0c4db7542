// SPDX-License-Identifier: Apache-2.0
// What the parts of an AuthorizationPolicy's translation share: the policy while it is read, and what becomes of it.
import { create } from '@bufbuild/protobuf'
import {
  type Action,
  type Authorization,
  AuthorizationSchema,
  type Scope,
} from '../../proto/generated/istio/authorization_pb.js'
import type { RequestPolicy } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import type { RuleInit } from './authorization-rules.ts'
import type { Notes } from './notes.ts'
import { wireName } from './policy-names.ts'
import type { Selector } from './selectors.ts'
import type { ConfigFinding, PolicyEnforcement } from './translation.ts'

/** One policy as far as the rest of the translation needs it. */
export interface PolicyPart {
  readonly messages: readonly Authorization[]
  /** Workloads that must name the messages; null: none need to. */
  readonly selector: Selector | null
  /** Other workloads that must name a message. */
  readonly users: readonly MessageUsers[]
  /** What the waypoints of its targets are told; null: nothing. */
  readonly request: RequestPolicy | null
  readonly findings: readonly ConfigFinding[]
  readonly enforcement: PolicyEnforcement
}

/** Who must name a message of a policy with targets. */
export interface MessageUsers {
  /** Of the message. */
  readonly name: string
  /** Keys of services: their workloads. */
  readonly services: readonly string[]
  /** `<namespace>/<name>` of waypoints: the workloads that ask for one and are not given it. */
  readonly waypoints: readonly string[]
}

/** A policy that is being read. */
export interface Draft {
  readonly policy: ConfigObject
  readonly notes: Notes
  readonly rootNamespace: string
  readonly isDryRun: boolean
}

/** Actions that decide on connections. */
export type EnforcedAction = 'ALLOW' | 'DENY' | 'CUSTOM'

/** Notes what becomes of a policy that layer 4 cannot decide. */
export function noteNeedsL7(draft: Draft, action: EnforcedAction): void {
  if (action === 'CUSTOM') {
    const message = 'external authorizers are not asked; what they would decide is refused'
    draft.notes.add('POLICY_ACTION_NOT_SERVED', 'spec.action', message, 'use ALLOW or DENY')
  } else {
    const message =
      'no waypoint enforces this policy; the connections that it would have to look into are refused'
    draft.notes.add('POLICY_NEEDS_L7', 'spec.rules', message, 'use a targetRef to a service with a waypoint')
  }
}

/** A message for ztunnels, under the policy's own name between prefix and suffix. */
export function messageOf(
  { policy, isDryRun }: Draft,
  prefix: string,
  scope: Scope,
  action: Action,
  rules: readonly RuleInit[],
  suffix = '',
): Authorization {
  const name = `${prefix}${wireName(policy.metadata.name)}${suffix}`
  const { namespace } = policy.metadata
  return create(AuthorizationSchema, { name, namespace, scope, action, rules: [...rules], dryRun: isDryRun })
}
