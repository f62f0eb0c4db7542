// SPDX-License-Identifier: Apache-2.0
// Labels of Istio's metrics of connections and requests, in Istio's order (wire-protocols §7.3), so that dashboards and alerts
// written for it keep working. Missing values are `unknown`.

/** A workload as metrics name it. */
export interface LabelledWorkload {
  readonly name: string
  readonly namespace: string
  readonly identity: string
  readonly clusterId: string
  readonly workloadName: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly region: string
  readonly zone: string
}

/** Who speaks with whom. */
export interface PartyLabels {
  readonly reporter: 'source' | 'destination' | 'waypoint'
  readonly source: LabelledWorkload | null
  readonly destination: LabelledWorkload | null
  readonly service: { readonly hostname: string; readonly namespace: string; readonly name: string } | null
  readonly isMutualTls: boolean
}

/** One label set of connections. */
export interface TrafficLabels extends PartyLabels {
  readonly responseFlag: string
}

/** One label set of requests. */
export interface RequestLabels extends PartyLabels {
  readonly protocol: 'http' | 'grpc'
  /** 0: it was not answered. */
  readonly status: number
  /** null: it was no call, or ended without one. */
  readonly grpcStatus: number | null
  /** Flags of Envoy, separated by commas; `-`: none. */
  readonly responseFlags: string
}

/** One label; a missing value is `unknown`. */
export function quotedLabel(name: string, value: string | undefined): string {
  const text = value === undefined || value === '' ? 'unknown' : value
  // SPEC OpenMetrics 1.0 §4: backslash, quote and newline are escaped in label values.
  return `${name}="${text.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"`
}

function principal(workload: LabelledWorkload | null, isMutualTls: boolean): string {
  return workload === null || !isMutualTls ? '' : workload.identity
}

/** The label set as exposition text, without braces. */
export function formatTrafficLabels(labels: TrafficLabels): string {
  return [
    ...partyLabels(labels),
    'request_protocol="tcp"',
    `response_flags="${labels.responseFlag}"`,
    securityLabel(labels),
    ...localityLabels(labels),
  ].join(',')
}

/** The label set of requests as exposition text, without braces. */
export function formatRequestLabels(labels: RequestLabels): string {
  const { protocol, status, grpcStatus, responseFlags } = labels
  return [
    ...partyLabels(labels),
    `request_protocol="${protocol}"`,
    `response_code="${status}"`,
    `grpc_response_status="${grpcStatus ?? ''}"`,
    `response_flags="${responseFlags}"`,
    securityLabel(labels),
    ...localityLabels(labels),
  ].join(',')
}

function securityLabel({ isMutualTls }: PartyLabels): string {
  return `connection_security_policy="${isMutualTls ? 'mutual_tls' : 'unknown'}"`
}

function partyLabels({ reporter, source, destination, service, isMutualTls }: PartyLabels): string[] {
  const app = (workload: LabelledWorkload | null): string => workload?.canonicalName ?? ''
  return [
    quotedLabel('reporter', reporter),
    quotedLabel('source_workload', source?.workloadName || source?.name),
    quotedLabel('source_canonical_service', app(source)),
    quotedLabel('source_canonical_revision', source?.canonicalRevision),
    quotedLabel('source_workload_namespace', source?.namespace),
    quotedLabel('source_principal', principal(source, isMutualTls)),
    quotedLabel('source_app', app(source)),
    quotedLabel('source_version', source?.canonicalRevision),
    quotedLabel('source_cluster', source?.clusterId),
    quotedLabel('destination_service', service?.hostname),
    quotedLabel('destination_service_namespace', service?.namespace),
    quotedLabel('destination_service_name', service?.name),
    quotedLabel('destination_workload', destination?.workloadName || destination?.name),
    quotedLabel('destination_canonical_service', app(destination)),
    quotedLabel('destination_canonical_revision', destination?.canonicalRevision),
    quotedLabel('destination_workload_namespace', destination?.namespace),
    quotedLabel('destination_principal', principal(destination, isMutualTls)),
    quotedLabel('destination_app', app(destination)),
    quotedLabel('destination_version', destination?.canonicalRevision),
    quotedLabel('destination_cluster', destination?.clusterId),
  ]
}

function localityLabels({ source, destination }: PartyLabels): string[] {
  return [
    ...(source === null
      ? []
      : [quotedLabel('source_region', source.region), quotedLabel('source_zone', source.zone)]),
    ...(destination === null
      ? []
      : [
          quotedLabel('destination_region', destination.region),
          quotedLabel('destination_zone', destination.zone),
        ]),
  ]
}
