// SPDX-License-Identifier: Apache-2.0
// Spans in the JSON form of OTLP. Pure. SPEC OTLP 1.x §JSON Protobuf Encoding: ids in hex, times as text of nanoseconds, enums as
// numbers. Why by hand: docs/decisions/0015-spans.md.

type AttributeValue =
  | { readonly stringValue: string }
  | { readonly doubleValue: number }
  | { readonly intValue: string }

/** An attribute of a span or of whoever made it. */
export interface Attribute {
  readonly key: string
  readonly value: AttributeValue
}

/** As much of opentelemetry.proto.trace.v1.Span as we fill. */
export interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status: { readonly code?: number; readonly message?: string }
}

export const SPAN_KIND_SERVER = 2
export const SPAN_KIND_CLIENT = 3
export const STATUS_ERROR = 2

/** Whose spans they are. */
export interface SpanResource {
  /** `sidestep-ztunnel`, `sidestep-waypoint`. */
  readonly serviceName: string
  /** Of this program. */
  readonly version: string
  /** By their names in OpenTelemetry; those without a value are left out. */
  readonly attributes: Readonly<Record<string, string>>
}

export function textAttribute(key: string, stringValue: string): Attribute {
  return { key, value: { stringValue } }
}

export function integerAttribute(key: string, value: number): Attribute {
  return { key, value: { intValue: String(value) } }
}

/** Of epoch milliseconds; nothing here is known better than to a microsecond. */
export function nanoseconds(ms: number): string {
  return `${Math.max(0, Math.round(ms * 1000))}000`
}

/** The document that is posted, an ExportTraceServiceRequest, from spans that are JSON already. */
export function exportRequest(
  spans: readonly string[],
  { serviceName, version, attributes }: SpanResource,
): string {
  const resource = [
    textAttribute('service.name', serviceName),
    textAttribute('service.version', version),
    ...Object.entries(attributes).flatMap(([key, value]) => (value === '' ? [] : textAttribute(key, value))),
  ]
  const scope = { name: serviceName.replace('-', '.'), version }
  return (
    `{"resourceSpans":[{"resource":{"attributes":${JSON.stringify(resource)}},` +
    `"scopeSpans":[{"scope":${JSON.stringify(scope)},"spans":[${spans.join()}]}]}]}`
  )
}
