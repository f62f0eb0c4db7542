// SPDX-License-Identifier: Apache-2.0
// One Telemetry, as a waypoint can act on it: what it says of logs and traces on the side of the server, which is the one that a
// waypoint stands on. SPEC ISTIO-API telemetry/v1 Telemetry.
import type { MessageInitShape } from '@bufbuild/protobuf'
import { parseLogExpression } from '../../../mesh/telemetry/log-expression.ts'
import type { SpanTagSchema } from '../../../proto/generated/sidestep/v1/telemetry_pb.js'
import type { ConfigObject } from '../../watch/config-object.ts'
import { Fields } from '../fields.ts'
import { Notes, quote } from '../notes.ts'
import { type PolicyTarget, readTargets } from '../policy-targets.ts'

/** Fields of the kind. */
const TELEMETRY_FIELDS = ['selector', 'targetRef', 'targetRefs', 'accessLogging', 'tracing', 'metrics']
/** The one provider that is there: a waypoint's own log. */
const OWN_LOG = 'envoy'
const MILLIONTHS_PER_PERCENT = 10_000
/** Tags of a span: more do not fit into what a waypoint sends. */
const MAX_SPAN_TAGS = 16
/** Characters of the name of a tag. */
const MAX_TAG_NAME = 64

export type SpanTagInit = Exclude<MessageInitShape<typeof SpanTagSchema>, { readonly $typeName: string }>

/** What is said of the log; null: nothing. */
export interface LoggingPart {
  readonly isDisabled: boolean
  /** '': every request. */
  readonly expression: string
}

/** undefined: nothing is said of it. */
export interface TracingPart {
  readonly samplesPerMillion: number | undefined
  readonly disablesReporting: boolean | undefined
  readonly tags: readonly SpanTagInit[] | undefined
}

/** One object. */
export interface TelemetryPart {
  readonly object: ConfigObject
  readonly targets: readonly PolicyTarget[]
  /** It names no target: it is for its namespace, or for the mesh where that is the root namespace. */
  readonly isWide: boolean
  readonly logging: LoggingPart | null
  readonly tracing: TracingPart | null
  readonly notes: Notes
}

/** Reads one Telemetry. What of it cannot be read is left out, and found. */
export function readTelemetry(object: ConfigObject): TelemetryPart {
  const notes = new Notes(object)
  const spec = new Fields(object.spec, 'spec', notes)
  spec.refuseUnknown(TELEMETRY_FIELDS)
  const { targets, isBroken } = readTargets(spec, object.metadata.namespace)
  const hasSelector = spec.raw('selector') !== undefined
  if (hasSelector) {
    const message = 'waypoints have no labels of workloads; the selector selects nothing'
    notes.add('TELEMETRY_NOT_APPLIED', 'spec.selector', message, 'use targetRefs')
  }
  if (spec.raw('metrics') !== undefined) {
    const message = 'metrics are Istio’s, with their own labels; overrides are not acted on'
    notes.add('FIELD_NOT_SERVED', 'spec.metrics', message, 'remove it')
  }
  return {
    ...{ object, targets, notes },
    isWide: targets.length === 0 && !isBroken && !hasSelector,
    logging: readLogging(spec),
    tracing: readTracing(spec),
  }
}

function readLogging(spec: Fields): LoggingPart | null {
  let logging: LoggingPart | null = null
  for (const entry of serverEntries(spec, 'accessLogging')) {
    if (!isOwnLog(entry)) continue
    const expression = readExpression(entry)
    if (expression === null) continue
    const isDisabled = entry.raw('disabled') === undefined ? false : entry.flag('disabled')
    logging = { isDisabled, expression }
  }
  return logging
}

function isOwnLog(entry: Fields): boolean {
  const names = entry.items('providers').map((provider) => provider.text('name'))
  const others = names.filter((name) => name !== OWN_LOG)
  if (others.length > 0) {
    const message = `there is no provider ${quote(others[0] ?? '')}; a waypoint writes a log of its own`
    entry.notes.add('FIELD_NOT_SERVED', entry.pathOf('providers'), message, `use ${OWN_LOG}, or none`)
  }
  return names.length === 0 || names.includes(OWN_LOG)
}

/** null: it cannot be read. */
function readExpression(entry: Fields): string | null {
  const filter = entry.fields('filter')
  const text = filter.text('expression').trim()
  if (text === '') return ''
  const parsed = parseLogExpression(text)
  if (typeof parsed !== 'string') return text
  const fix = 'compare attributes with constants, as response.code >= 400'
  filter.notes.add('INVALID_VALUE', filter.pathOf('expression'), parsed, fix)
  return null
}

function readTracing(spec: Fields): TracingPart | null {
  return serverEntries(spec, 'tracing').reduce<TracingPart | null>((before, entry) => {
    noteUnserved(entry)
    const isSaid = entry.raw('disableSpanReporting') !== undefined
    return {
      samplesPerMillion: readSampling(entry) ?? before?.samplesPerMillion,
      disablesReporting: isSaid ? entry.flag('disableSpanReporting') : before?.disablesReporting,
      tags: readTags(entry) ?? before?.tags,
    }
  }, null)
}

/** Fields of tracing that say what a waypoint does otherwise. */
const UNSERVED: Readonly<Record<string, string>> = {
  providers: 'spans go to the collector that the waypoint is given, and to no other',
  useRequestIdForTraceSampling: 'requests are sampled by their trace, not by their id',
  enableIstioTags: 'spans have their tags, whatever is said here',
  disableContextPropagation: 'traces go on in every request',
}

function noteUnserved(entry: Fields): void {
  for (const [key, message] of Object.entries(UNSERVED)) {
    if (entry.raw(key) === undefined) continue
    const fix = key === 'providers' ? 'set otlpEndpoint of the waypoints' : 'remove it'
    entry.notes.add('FIELD_NOT_SERVED', entry.pathOf(key), message, fix)
  }
}

function readSampling(entry: Fields): number | undefined {
  const key = 'randomSamplingPercentage'
  const value = entry.raw(key)
  if (value === undefined) return undefined
  if (typeof value === 'number' && value >= 0 && value <= 100)
    return Math.round(value * MILLIONTHS_PER_PERCENT)
  entry.notes.add('INVALID_VALUE', entry.pathOf(key), 'it is no number from 0 to 100', 'write a percentage')
  return undefined
}

/** undefined: there are none that can be read. */
function readTags(entry: Fields): readonly SpanTagInit[] | undefined {
  if (entry.raw('customTags') === undefined) return undefined
  const tags = entry.fields('customTags')
  const names = tags.keys()
  if (names.length > MAX_SPAN_TAGS) {
    const message = `a span has ${MAX_SPAN_TAGS} tags at most; the first of them are used`
    tags.notes.add('INVALID_VALUE', tags.path, message, 'write fewer')
  }
  const read = names.slice(0, MAX_SPAN_TAGS).flatMap((name) => readTag(tags.fields(name), name) ?? [])
  return read.length === 0 && names.length > 0 ? undefined : read
}

function readTag(tag: Fields, name: string): SpanTagInit | null {
  const refuse = (message: string, fix: string): null => {
    tag.notes.add('INVALID_VALUE', tag.path, message, fix)
    return null
  }
  if (name.length > MAX_TAG_NAME) return refuse('the name of the tag is too long', 'write a shorter one')
  if (tag.raw('formatter') !== undefined)
    return refuse('formatters are not served', 'use literal, header or environment')
  const [kind, ...others] = tag.keys()
  if (kind === undefined || others.length > 0)
    return refuse('a tag has one of literal, header and environment', 'write one of them')
  const source = tag.fields(kind)
  if (kind === 'literal') return { name, value: source.text('value') }
  const value = source.text('defaultValue')
  const from = source.text('name')
  if (kind === 'header') return { name, header: from.toLowerCase(), value }
  return kind === 'environment' ? { name, environment: from, value } : refuse('it is no tag', 'use literal')
}

/** Those that are for servers: a waypoint is none of the clients. */
function serverEntries(spec: Fields, key: string): Fields[] {
  return spec.items(key).filter((entry) => {
    const mode = entry.fields('match').oneOf('mode', ['CLIENT_AND_SERVER', 'CLIENT', 'SERVER'] as const, null)
    return mode !== 'CLIENT'
  })
}
