// SPDX-License-Identifier: Apache-2.0
// Labels of Istio's TCP metrics, in Istio's order (wire-protocols §7.3), so that dashboards and alerts written for
// it keep working. Missing values are `unknown`.

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

/** One label set. */
export interface TrafficLabels {
  readonly reporter: 'source' | 'destination'
  readonly source: LabelledWorkload | null
  readonly destination: LabelledWorkload | null
  readonly service: { readonly hostname: string; readonly namespace: string; readonly name: string } | null
  readonly responseFlag: string
  readonly isMutualTls: boolean
}

function quoted(name: string, value: string | undefined): string {
  const text = value === undefined || value === '' ? 'unknown' : value
  // SPEC OpenMetrics 1.0 §4: backslash, quote and newline are escaped in label values.
  return `${name}="${text.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"`
}

function principal(workload: LabelledWorkload | null, isMutualTls: boolean): string {
  return workload === null || !isMutualTls ? '' : workload.identity
}

/** The label set as exposition text, without braces. */
export function formatTrafficLabels(labels: TrafficLabels): string {
  const { source, destination, service, isMutualTls } = labels
  const app = (workload: LabelledWorkload | null): string => workload?.canonicalName ?? ''
  return [
    quoted('reporter', labels.reporter),
    quoted('source_workload', source?.workloadName || source?.name),
    quoted('source_canonical_service', app(source)),
    quoted('source_canonical_revision', source?.canonicalRevision),
    quoted('source_workload_namespace', source?.namespace),
    quoted('source_principal', principal(source, isMutualTls)),
    quoted('source_app', app(source)),
    quoted('source_version', source?.canonicalRevision),
    quoted('source_cluster', source?.clusterId),
    quoted('destination_service', service?.hostname),
    quoted('destination_service_namespace', service?.namespace),
    quoted('destination_service_name', service?.name),
    quoted('destination_workload', destination?.workloadName || destination?.name),
    quoted('destination_canonical_service', app(destination)),
    quoted('destination_canonical_revision', destination?.canonicalRevision),
    quoted('destination_workload_namespace', destination?.namespace),
    quoted('destination_principal', principal(destination, isMutualTls)),
    quoted('destination_app', app(destination)),
    quoted('destination_version', destination?.canonicalRevision),
    quoted('destination_cluster', destination?.clusterId),
    'request_protocol="tcp"',
    `response_flags="${labels.responseFlag}"`,
    `connection_security_policy="${isMutualTls ? 'mutual_tls' : 'unknown'}"`,
    ...(source === null ? [] : [quoted('source_region', source.region), quoted('source_zone', source.zone)]),
    ...(destination === null
      ? []
      : [quoted('destination_region', destination.region), quoted('destination_zone', destination.zone)]),
  ].join(',')
}
