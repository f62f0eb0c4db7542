// SPDX-License-Identifier: Apache-2.0
// Which endpoints are out of use because they fail: the state machine, without clock and timer. SPEC ENVOY outlier detection:
// consecutive errors; the time out grows with every ejection and shrinks while all is well. Never the last endpoint.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import { EJECTION_MAX_MS } from './limits.ts'
import type { OutlierSettings } from './upstream-settings.ts'

/** How one attempt ended, as far as it tells about the endpoint. */
export type EndpointOutcome =
  /** An answer came, with this HTTP status (of gRPC: httpStatusOf). */
  | { readonly kind: 'status'; readonly status: number }
  /** It could not be reached, reset, or did not answer in time. */
  | { readonly kind: 'local-failure' }

/** Connects fail for these wherever they go. */
const OWN_FAULTS: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  'OUT_OF_DESCRIPTORS',
  'LIMIT_NODE',
  'LIMIT_POD',
  'CERT_UNAVAILABLE',
  'SHUTDOWN',
])

/** True when a connect was refused for a reason that says nothing of the endpoint. */
export function isOwnFault(code: ReasonCode): boolean {
  return OWN_FAULTS.has(code)
}

/** SPEC ENVOY Grpc::Utility::grpcToHttpStatus, by the number of the gRPC status; others are 500. */
const HTTP_OF_GRPC = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]

/** What an answer says of its endpoint. `grpcStatus` null: it is no call, or its status comes later. */
export function httpStatusOf(status: number, grpcStatus: number | null): number {
  return grpcStatus === null || status !== 200 ? status : (HTTP_OF_GRPC[grpcStatus] ?? 500)
}

/** What is remembered about an endpoint. in-use → ejected → in-use. */
interface Evidence {
  consecutive5xx: number
  consecutiveGateway: number
  consecutiveLocal: number
  /** Ejections that still lengthen the next one. */
  multiplier: number
  /** null: in use. */
  ejectedUntilMs: number | null
}

// SPEC-DEVIATION ENVOY: a worker judges by what it has seen itself, because counting every answer in memory that all workers
// write would cost each of them; and the last endpoint stays, because an endpoint that may fail is better than none.
/** Of one cluster and worker. */
export class OutlierDetection {
  readonly #settings: OutlierSettings
  readonly #records = new Map<string, Evidence>()
  #ejectedCount = 0

  /** `previous`: what was known under other settings; it stays in force. */
  constructor(settings: OutlierSettings, previous: OutlierDetection | null = null) {
    this.#settings = settings
    if (previous === null) return
    for (const [key, record] of previous.#records) this.#records.set(key, record)
    this.#ejectedCount = previous.#ejectedCount
  }

  get ejectedCount(): number {
    return this.#ejectedCount
  }
  /** True while a look would change something. */
  get needsLook(): boolean {
    for (const { multiplier } of this.#records.values()) if (multiplier > 0) return true
    return false
  }

  /** null: it is in use. */
  ejectedUntilMs(key: string): number | null {
    return this.#records.get(key)?.ejectedUntilMs ?? null
  }

  isEjected(key: string): boolean {
    return this.#ejectedCount > 0 && this.ejectedUntilMs(key) !== null
  }

  /** True when the endpoint has just been ejected. `endpointCount`: of the cluster. */
  note(key: string, outcome: EndpointOutcome, endpointCount: number, nowMs: number): boolean {
    const isFailure = outcome.kind === 'local-failure' || outcome.status >= 500
    const known = this.#records.get(key)
    if (known === undefined && !isFailure) return false // nothing to forget: the way of nearly every request
    const record = known ?? newEvidence()
    if (known === undefined) this.#records.set(key, record)
    this.#count(record, outcome)
    if (isForgotten(record)) this.#records.delete(key)
    if (record.ejectedUntilMs !== null || !this.#isOverThreshold(record)) return false
    if (!this.#mayEject(endpointCount)) return false
    record.multiplier++
    record.ejectedUntilMs = nowMs + this.#ejectionMs(record.multiplier)
    this.#ejectedCount++
    return true
  }

  /** Every interval: who comes back into use. */
  look(nowMs: number): string[] {
    const back: string[] = []
    for (const [key, record] of this.#records) {
      if (record.ejectedUntilMs === null) {
        if (record.multiplier > 0) record.multiplier--
        if (isForgotten(record)) this.#records.delete(key)
      } else if (nowMs >= record.ejectedUntilMs) {
        this.#readmit(record)
        back.push(key)
      }
    }
    return back
  }

  /**
   * Endpoints have come or gone: forgets who has, and readmits, the earliest first, until as few are out as a set of this
   * size allows. Returns who comes back.
   */
  retain(keys: ReadonlySet<string>): string[] {
    for (const [key, { ejectedUntilMs }] of this.#records) {
      if (keys.has(key)) continue
      if (ejectedUntilMs !== null) this.#ejectedCount--
      this.#records.delete(key)
    }
    const back: string[] = []
    while (this.#ejectedCount > 0 && this.#ejectedCount >= keys.size) {
      const next = this.#earliest()
      if (next === null) break
      this.#readmit(next.record)
      back.push(next.key)
    }
    return back
  }

  #count(record: Evidence, outcome: EndpointOutcome): void {
    const { splitsLocalFailures } = this.#settings
    if (outcome.kind === 'local-failure') {
      if (splitsLocalFailures) record.consecutiveLocal++
      else {
        record.consecutive5xx++
        record.consecutiveGateway++
      }
      return
    }
    const { status } = outcome
    record.consecutiveLocal = 0
    record.consecutive5xx = status >= 500 ? record.consecutive5xx + 1 : 0
    record.consecutiveGateway = status >= 502 && status <= 504 ? record.consecutiveGateway + 1 : 0
  }

  #isOverThreshold({ consecutive5xx, consecutiveGateway, consecutiveLocal }: Evidence): boolean {
    const settings = this.#settings
    return (
      isReached(consecutive5xx, settings.consecutive5xx) ||
      isReached(consecutiveGateway, settings.consecutiveGatewayErrors) ||
      isReached(consecutiveLocal, settings.consecutiveLocalFailures)
    )
  }

  /** At least one may go whatever the share says, unless that is 0; the last one never. */
  #mayEject(endpointCount: number): boolean {
    if (this.#ejectedCount + 1 >= endpointCount) return false
    return (100 * this.#ejectedCount) / endpointCount < this.#settings.maxEjectionPercent
  }

  #ejectionMs(multiplier: number): number {
    const { baseEjectionMs } = this.#settings
    return Math.min(Math.max(EJECTION_MAX_MS, baseEjectionMs), baseEjectionMs * multiplier)
  }

  #readmit(record: Evidence): void {
    record.ejectedUntilMs = null
    record.consecutive5xx = 0
    record.consecutiveGateway = 0
    record.consecutiveLocal = 0
    this.#ejectedCount--
  }

  #earliest(): { readonly key: string; readonly record: Evidence } | null {
    let found: { readonly key: string; readonly record: Evidence } | null = null
    for (const [key, record] of this.#records) {
      const { ejectedUntilMs } = record
      if (
        ejectedUntilMs !== null &&
        ejectedUntilMs < (found?.record.ejectedUntilMs ?? Number.POSITIVE_INFINITY)
      )
        found = { key, record }
    }
    return found
  }
}

function newEvidence(): Evidence {
  return {
    consecutive5xx: 0,
    consecutiveGateway: 0,
    consecutiveLocal: 0,
    multiplier: 0,
    ejectedUntilMs: null,
  }
}

function isForgotten(evidence: Evidence): boolean {
  const { consecutive5xx, consecutiveGateway, consecutiveLocal, multiplier, ejectedUntilMs } = evidence
  return consecutive5xx + consecutiveGateway + consecutiveLocal + multiplier === 0 && ejectedUntilMs === null
}

function isReached(count: number, threshold: number): boolean {
  return threshold > 0 && count >= threshold
}
