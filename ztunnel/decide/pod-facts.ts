// SPDX-License-Identifier: Apache-2.0
// All that a node knows of one of its pods, but for what only the workers know. Pure, of a running node or of a dump.
import { describePolicy } from '../../mesh/authz/describe.ts'
import { isReasonCode, REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import type { PodInfo } from '../../mesh/generations/pods.ts'
import { type Policy, policyKey } from '../../mesh/model/policy.ts'
import { healthOf, type NodeHealth, type NodeView, type PartyFacts, partyOf } from './node-view.ts'
import type { PodActivity } from './pod-listeners.ts'

/** A policy that applies to connections to the pod. */
export interface AppliedPolicy {
  /** `namespace/name`. */
  readonly policy: string
  readonly action: Policy['action']
  readonly scope: Policy['scope']
  readonly isDryRun: boolean
  readonly ruleCount: number
  /** What it does, one sentence. */
  readonly effect: string
}

/** A connection of the pod that did not end well. */
export interface PodFailure {
  /** RFC 3339. */
  readonly time: string
  readonly direction: string
  readonly code: ReasonCode
  /** The other end: its identity, else its address. */
  readonly peer: string
  readonly destination: string
  readonly policy: string
  readonly detail: string
  readonly fix: string
}

/** Something that happened to the pod itself. */
export interface PodChange {
  /** RFC 3339. */
  readonly time: string
  /** A constant phrase. */
  readonly what: string
  /** The other fields of the event, `name=value`. */
  readonly detail: string
}

/** One pod. */
export interface PodFacts extends PodActivity {
  readonly health: NodeHealth
  readonly pod: PodInfo
  /** Null: enrolled but not configured. */
  readonly workload: PartyFacts | null
  /** `namespace/hostname` of services it stands behind. */
  readonly services: readonly string[]
  readonly policies: readonly AppliedPolicy[]
  /** The last ones, oldest first. */
  readonly failures: readonly PodFailure[]
  /** The last ones, oldest first. */
  readonly changes: readonly PodChange[]
  /** When its redirection was last mended, epoch ms; null: never. */
  readonly mendedMs: number | null
}

/** Failures of a pod that are told. */
const MAX_FAILURES = 50
const MAX_CHANGES = 20 // enrolment, redirection, certificates: of a pod that are told

/** The pods of that name: `namespace/name`, or a name. */
export function podFacts(view: NodeView, name: string): readonly PodFacts[] {
  return view.pods
    .filter((pod) => name === pod.name || name === `${pod.namespace}/${pod.name}`)
    .map((pod) => factsOf(view, pod))
}

function factsOf(view: NodeView, pod: PodInfo): PodFacts {
  const { state } = view
  const own = state?.ownWorkload(pod.namespace, pod.name, pod.serviceAccount)
  const policies = own === undefined ? [] : (state?.policiesFor(own) ?? [])
  const lines = view.eventsOf(pod)
  return {
    health: healthOf(view),
    pod,
    workload: own === undefined ? null : partyOf(own),
    services: Object.keys(own?.services ?? {}),
    policies: policies.map((policy) => ({
      policy: policyKey(policy),
      ...{
        action: policy.action,
        scope: policy.scope,
        isDryRun: policy.dryRun,
        ruleCount: policy.rules.length,
        effect: describePolicy(policy),
      },
    })),
    failures: failuresOf(lines, pod, own?.workloadIps ?? []),
    changes: changesOf(lines),
    mendedMs: view.mendedMs[pod.uid] ?? null,
    ...view.activityOf(pod),
  }
}

/** Read from the end: the last ones are wanted, and most lines are of others. */
function failuresOf(lines: readonly string[], pod: PodInfo, ips: readonly string[]): readonly PodFailure[] {
  const found: PodFailure[] = []
  for (let index = lines.length - 1; index >= 0 && found.length < MAX_FAILURES; index--) {
    const line = lines[index] ?? ''
    if (line.includes('"reason":"OK"')) continue
    const failure = line === '' ? null : failureOf(line, pod, ips)
    if (failure !== null) found.push(failure)
  }
  return found.reverse()
}

/** Lines without a direction are about the pod itself. */
function changesOf(lines: readonly string[]): readonly PodChange[] {
  const changes = lines
    .filter((line) => line !== '' && !line.includes('"direction":"'))
    .slice(-MAX_CHANGES)
    .map((line) => {
      const { time, msg, ...fields } = parse(line)
      const detail = Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`)
      return { time: String(time ?? ''), what: String(msg ?? ''), detail: detail.join(' ') }
    })
  return changes.filter(({ what }) => what !== '')
}

function failureOf(line: string, { namespace, name }: PodInfo, ips: readonly string[]): PodFailure | null {
  const record = parse(line)
  const field = (key: string): string => {
    const value = record[key]
    return typeof value === 'string' ? value : ''
  }
  const [direction, code] = [field('direction'), field('reason')]
  const [own, other] = direction === 'outbound' ? ['src', 'dst'] : ['dst', 'src']
  const ip = field(`${own}.addr`)
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
  const isOwn =
    (field(`${own}.workload`) === name && field(`${own}.namespace`) === namespace) || ips.includes(ip)
  if (!isOwn || !isReasonCode(code) || code === 'OK') return null
  return {
    ...{ time: field('time'), direction, code },
    peer: field(`${other}.identity`) || field(`${other}.addr`),
    destination: field('dst.hbone_addr') || field('dst.addr'),
    ...{ policy: field('policy'), detail: field('detail'), fix: REASONS[code].fix },
  }
}

function parse(line: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {} // as: an object
  } catch {
    return {} // a dump may have been cut
  }
}
