// SPDX-License-Identifier: Apache-2.0
// Counts what callers ask and how it ends, in Istio's terms. A caller and an endpoint are looked up as objects and the way it ended
// as a number: texts are made for what was not seen before.
import { REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import { requestFlag } from '../../mesh/errors/request-flags.ts'
import { claimedWorkload } from '../../mesh/hbone/claimed-workload.ts'
import type { SpiffeId } from '../../mesh/identity/spiffe.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'
import type { TrafficCounters } from '../../mesh/telemetry/counters.ts'
import { CLOSED, FAILED, OPENED, RECEIVED_BYTES, SENT_BYTES } from '../../mesh/telemetry/counters.ts'
import type { RequestCounters } from '../../mesh/telemetry/request-counters.ts'
import { formatRequestLabels, formatTrafficLabels } from '../../mesh/telemetry/traffic-labels.ts'
import type { EndpointView } from '../upstream/cluster-view.ts'
import type { Target } from './target.ts'
import type { KnownCluster } from './waypoint-context.ts'

/** Callers a worker knows by what they prove and say; beyond it all are forgotten and learnt again. */
export const MAX_CALLERS = 4096
/** A longer self-description is not believed to be one. */
const MAX_CLAIM_CHARS = 1024

/** Tried as often as it may be, in vain. Envoy's URX. */
export const RETRIES_EXHAUSTED = 1
/** Waited on purpose. Envoy's DI. */
export const WAS_DELAYED = 2
/** The caller left before the end of the answer. Envoy's DC. */
export const CALLER_GONE = 4
const IS_CALL = 8

/** A request that has ended. */
export interface EndedRequest {
  /** 0: none was answered. */
  readonly status: number
  /** null: it was no call of gRPC, or ended without one. */
  readonly grpcStatus: number | null
  readonly isCall: boolean
  readonly reason: { readonly code: ReasonCode }
  /** RETRIES_EXHAUSTED, WAS_DELAYED, CALLER_GONE. */
  readonly marks: number
  /** Where it was to go; null: nobody came to know. */
  readonly known: KnownCluster | null
  readonly endpoint: EndpointView | null
  readonly startedMs: number
  readonly bytesReceived: number
  readonly bytesSent: number
}

/** A connection of bytes, as it ends. */
export interface EndedConnection
  extends Pick<EndedRequest, 'known' | 'endpoint' | 'bytesReceived' | 'bytesSent'> {
  readonly isCarried: boolean
}

/** A caller, and the slots of what it was seen to do. */
export class CallerSeries {
  /** null: nothing proves who it is. */
  readonly workload: WorkloadFacts | null
  readonly #slots = new WeakMap<object, Map<number, number>>()

  constructor(workload: WorkloadFacts | null) {
    this.workload = workload
  }

  /** The slots of what went to `where`. */
  slotsOf(where: object): Map<number, number> {
    const known = this.#slots.get(where)
    if (known !== undefined) return known
    const slots = new Map<number, number>()
    this.#slots.set(where, slots)
    return slots
  }
}

const NOBODY = new CallerSeries(null)

/** Of one worker. */
export class RequestSeries {
  readonly #requests: RequestCounters
  readonly #connections: TrafficCounters
  readonly #callers = new Map<string, CallerSeries>()

  constructor(requests: RequestCounters, connections: TrafficCounters) {
    this.#requests = requests
    this.#connections = connections
  }

  /** `baggage` is what the caller says of itself, its identity what it has proven. */
  callerOf(id: SpiffeId | null, identity: string, baggage: string): CallerSeries {
    if (id === null) return NOBODY
    const said = baggage.length > MAX_CLAIM_CHARS ? '' : baggage
    const key = `${identity} ${said}`
    const known = this.#callers.get(key)
    if (known !== undefined) return known
    if (this.#callers.size >= MAX_CALLERS) this.#callers.clear()
    const caller = new CallerSeries(claimedWorkload(id, said))
    this.#callers.set(key, caller)
    return caller
  }

  countRequest(caller: CallerSeries, target: Target, request: EndedRequest, nowMs: number): void {
    const { known } = request
    const slots = caller.slotsOf(destinationOf(request) ?? known?.facts ?? target)
    const ending = endingOf(request)
    let slot = slots.get(ending)
    if (slot === undefined) {
      slot = this.#requests.slotOf(requestLabels(caller, target, request))
      slots.set(ending, slot)
    }
    this.#requests.count(slot, nowMs - request.startedMs, request.bytesReceived, request.bytesSent)
  }

  /** Once, at its end. */
  countConnection(caller: CallerSeries, target: Target, ended: EndedConnection, code: ReasonCode): void {
    const opened = this.#connectionSlot(caller, target, ended, 'OK')
    if (ended.isCarried) this.#connections.add(opened, OPENED, 1)
    this.#connections.add(opened, RECEIVED_BYTES, ended.bytesReceived)
    this.#connections.add(opened, SENT_BYTES, ended.bytesSent)
    const closed = code === 'OK' ? opened : this.#connectionSlot(caller, target, ended, code)
    if (ended.isCarried) this.#connections.add(closed, CLOSED, 1)
    if (code !== 'OK') this.#connections.add(closed, FAILED, 1)
  }

  #connectionSlot(caller: CallerSeries, target: Target, ended: EndedConnection, code: ReasonCode): number {
    const { responseFlag } = REASONS[code]
    const text = formatTrafficLabels({ ...partiesOf(caller, target, ended), responseFlag })
    return this.#connections.slotOf(text, () => ({ text, edge: null, pod: '' }))
  }
}

type Went = Pick<EndedRequest, 'known' | 'endpoint'>

function destinationOf({ known, endpoint }: Went): WorkloadFacts | null {
  return known === null || endpoint === null ? null : (known.facts.workloads[endpoint.key] ?? null)
}

/** Equal for what ended alike; less than 2³¹. */
function endingOf({ status, grpcStatus, isCall, reason, marks }: EndedRequest): number {
  const grpc = (shownGrpcStatus(grpcStatus) ?? -1) + 1
  const flags = marks | (isCall ? IS_CALL : 0)
  return ((shownStatus(status) * 1024 + REASONS[reason.code].number) * 32 + grpc) * 16 + flags
}

/** SPEC gRPC statuscodes.md: others are none. */
const MAX_GRPC_STATUS = 16

/** What is no status of HTTP is 0, as if there were none: a service must not make label sets without end. */
function shownStatus(status: number): number {
  return status >= 100 && status <= 999 ? Math.trunc(status) : 0
}

function shownGrpcStatus(status: number | null): number | null {
  return Number.isInteger(status) && status !== null && status >= 0 && status <= MAX_GRPC_STATUS
    ? status
    : null
}

function requestLabels(caller: CallerSeries, target: Target, request: EndedRequest): string {
  const { isCall, status, grpcStatus } = request
  return formatRequestLabels({
    ...partiesOf(caller, target, request),
    protocol: isCall ? 'grpc' : 'http',
    status: shownStatus(status),
    grpcStatus: shownGrpcStatus(grpcStatus),
    responseFlags: responseFlags(request),
  })
}

/** SPEC ENVOY %RESPONSE_FLAGS%: short names, separated by commas. */
export function responseFlags({ reason, marks }: Pick<EndedRequest, 'reason' | 'marks'>): string {
  const flag = (marks & CALLER_GONE) !== 0 ? 'DC' : requestFlag(reason.code)
  const more = [
    ...((marks & RETRIES_EXHAUSTED) === 0 ? [] : ['URX']),
    ...((marks & WAS_DELAYED) === 0 ? [] : ['DI']),
  ]
  if (more.length === 0) return flag
  return flag === '-' ? more.join(',') : [flag, ...more].join(',')
}

function partiesOf(
  { workload: source }: CallerSeries,
  { view }: Target,
  went: Went,
): Omit<Parameters<typeof formatTrafficLabels>[0], 'responseFlag'> {
  const service = went.known?.facts.service ?? (view.kind === 'service' ? view : view.cluster.service)
  const destination = destinationOf(went)
  return { reporter: 'waypoint', source, destination, service, isMutualTls: source !== null }
}
