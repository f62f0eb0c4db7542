// SPDX-License-Identifier: Apache-2.0
// The `baggage` header of HBONE: who is at the other end, for telemetry only. It is a claim of the peer's and never
// a basis for authorization. Writing follows ztunnel's order; reading is bounded and skips what it does not know.
import { HBONE_LIMITS } from './limits.ts'

/** Kinds of workload, as they stand in the key `k8s.<type>.name`. */
export const WORKLOAD_TYPES = ['deployment', 'cronjob', 'pod', 'job'] as const
export type WorkloadType = (typeof WORKLOAD_TYPES)[number]

/** What baggage says; every field may be absent. */
export interface Baggage {
  readonly clusterName?: string
  readonly namespace?: string
  readonly workloadType?: WorkloadType
  readonly workloadName?: string
  readonly serviceName?: string
  readonly serviceVersion?: string
  readonly region?: string
  readonly zone?: string
}

/** Members looked at in one header: three times what HBONE defines. */
const MAX_MEMBERS = 24

/**
 * Writes the header value; empty or absent fields are left out. Values are not percent-encoded, so one that would
 * break the list (comma, control character, white space at an end) is left out as well.
 */
export function formatBaggage(baggage: Baggage): string {
  let text = ''
  // SPEC HBONE §3.3: this order, only non-empty members.
  text = append(text, 'k8s.cluster.name', baggage.clusterName)
  text = append(text, 'k8s.namespace.name', baggage.namespace)
  text = append(text, `k8s.${baggage.workloadType ?? 'deployment'}.name`, baggage.workloadName)
  text = append(text, 'service.name', baggage.serviceName)
  text = append(text, 'service.version', baggage.serviceVersion)
  text = append(text, 'cloud.region', baggage.region)
  return append(text, 'cloud.availability_zone', baggage.zone)
}

/** Reads a header value. Unknown, empty and malformed members are skipped; the first of a key counts. */
export function parseBaggage(text: string): Baggage {
  const found: { -readonly [Key in keyof Baggage]: Baggage[Key] } = {}
  if (text.length > HBONE_LIMITS.baggage.value) return found
  let from = 0
  for (let members = 0; from < text.length && members < MAX_MEMBERS; members++) {
    const comma = text.indexOf(',', from)
    const end = comma < 0 ? text.length : comma
    readMember(found, text.slice(from, end))
    from = end + 1
  }
  return found
}

function readMember(found: { -readonly [Key in keyof Baggage]: Baggage[Key] }, member: string): void {
  const equals = member.indexOf('=')
  if (equals < 0) return
  const key = member.slice(0, equals).trim()
  // W3C properties after a semicolon mean nothing to us.
  const semicolon = member.indexOf(';', equals)
  const value = member.slice(equals + 1, semicolon < 0 ? undefined : semicolon).trim()
  if (value === '' || !isClean(value)) return
  const field = FIELDS.get(key)
  if (field !== undefined) {
    found[field] ??= value
    return
  }
  const type = WORKLOAD_TYPES.find((name) => key === `k8s.${name}.name`)
  if (type === undefined || found.workloadName !== undefined) return
  found.workloadType = type
  found.workloadName = value
}

const FIELDS = new Map<string, Exclude<keyof Baggage, 'workloadType' | 'workloadName'>>([
  ['k8s.cluster.name', 'clusterName'],
  ['k8s.namespace.name', 'namespace'],
  ['service.name', 'serviceName'],
  ['service.version', 'serviceVersion'],
  ['cloud.region', 'region'],
  ['cloud.availability_zone', 'zone'],
])

function append(text: string, key: string, value: string | undefined): string {
  if (value === undefined || value === '' || value !== value.trim() || !isClean(value)) return text
  return `${text}${text === '' ? '' : ','}${key}=${value}`
}

/** Printable ASCII without the separators of the list. */
function isClean(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const char = value.charCodeAt(i)
    if (char < 0x20 || char > 0x7e || char === 0x2c || char === 0x3b) return false
  }
  return true
}
