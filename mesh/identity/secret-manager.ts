// SPDX-License-Identifier: Apache-2.0
// One certificate per identity, always fresh: asks the CA once per need, renews at half life, retries with
// backoff and keeps what is still valid. Main thread only; subscribers carry new certificates to the workers.
// Numbers: SPEC HBONE §2 (renewal at half life, ×2 backoff up to 150 s, at most 8 requests in flight).
// A clock that jumps: whoever counts on the time of day also counts the time that has passed, and the earlier one wins.
import { MeshError } from '../errors/mesh-error.ts'
import type { ReasonCode } from '../errors/reasons.ts'
import { Backoff } from '../runtime/backoff.ts'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import { TokenBucket } from '../runtime/token-bucket.ts'
import type { CertificateIssuer } from './ca-client.ts'
import type { WorkloadCertificate } from './certificate.ts'
import type { CertificateRequests } from './certificate-requests.ts'

const DEFAULT_TTL_SECONDS = 86_400
const MAX_IN_FLIGHT = 8 // certificate requests at a time: as Istio's ztunnel
const RETRY_INITIAL_MS = 500
const RETRY_MAX_MS = 150_000 // longest pause after a failure: as Istio's ztunnel
/** A CA that is down is asked so often by somebody who has nothing valid: once it answers, everybody else follows. */
const PROBE_INTERVAL_MS = 15_000
const PROBE_JITTER = 0.2 // nodes that lost their CA together look for it apart
const ISSUE_TIMEOUT_MS = 10_000 // a CA that is silent for longer is treated as unreachable
const RENEWAL_JITTER = 0.05 // of the lifetime, early only: nodes that started together renew apart
/** A CA that has not answered by then is not waited for when an earlier run has left a certificate. */
const SAVED_WAIT_MS = 1_000
const MIN_RENEWAL_MS = 1_000 // a CA that issues very short certificates must not make us spin
const MIN_RENEWAL_SHARE = 1 / 8 // of what is left: nor one whose clock is behind ours, so that half is always over
/** A jump of the clock over a due renewal is noticed within this. */
export const CLOCK_CHECK_MS = 30_000
/** Renewals and retries of all identities at once: a CA that comes back is not trampled down. */
export const RENEWAL_BURST = 16
/** Renewals and retries per second from then on: a thousand identities are through in less than two minutes. */
export const RENEWALS_PER_SECOND = 10

/**
 * initializing → available ⇄ (still available while a renewal fails) → unavailable when the first attempt failed
 * or the certificate expired; unavailable → available on the next success.
 */
export type CertificateState = 'Initializing' | 'Available' | 'Unavailable'

/** Who waits: traffic first, then pods that just came, then renewals. */
export type IssuePriority = 'real-time' | 'warm-up' | 'background'
const PRIORITIES: readonly IssuePriority[] = ['real-time', 'warm-up', 'background']

/** One identity as the admin interface shows it. */
export interface CertificateStatus {
  readonly identity: string
  readonly state: CertificateState
  /** Why the last attempt failed; '' when it did not. */
  readonly reason: string
  /** Failed attempts since the last certificate. */
  readonly renewalFailures: number
  /** Time of the first of them, epoch ms; null without one. */
  readonly failingSinceMs: number | null
  /** When the certificate is due for renewal, epoch ms; null without one. */
  readonly renewalDueMs: number | null
  readonly certificate: WorkloadCertificate | null
}

/** What a SecretManager is made of. */
export interface SecretManagerOptions {
  readonly issuer: CertificateIssuer
  readonly requests: CertificateRequests
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Lifetime to ask for. Default 24 h. */
  readonly ttlSeconds?: number
  /** What an earlier run has left for an identity: used until the CA answers, never beyond its end and `savedGraceMs`. */
  readonly saved?: (identity: string) => WorkloadCertificate | undefined
  /** So long after its end peers may still accept it. Default 0. */
  readonly savedGraceMs?: number
}

/** Told of every new certificate, the first of an identity included. Must not throw. */
export type CertificateListener = (certificate: WorkloadCertificate) => void

interface Waiter {
  readonly resolve: (certificate: WorkloadCertificate) => void
  readonly reject: (error: MeshError) => void
}

class Entry {
  readonly identity: string
  readonly backoff: Backoff
  state: CertificateState = 'Initializing'
  reason = ''
  reasonCode: ReasonCode = 'CERT_UNAVAILABLE'
  certificate: WorkloadCertificate | null = null
  /** Until it is asked for, after that in `certificate` or dropped. */
  saved: WorkloadCertificate | null = null
  savedTimer: ClockTimer | null = null
  renewalFailures = 0
  failingSinceMs: number | null = null
  renewalDueMs: number | null = null
  timer: ClockTimer | null = null
  waiters: Waiter[] = []
  /** Non-null while waiting for a free slot. */
  queuedAs: IssuePriority | null = null
  isIssuing = false
  isForgotten = false

  constructor(identity: string, backoff: Backoff) {
    this.identity = identity
    this.backoff = backoff
  }
}

/** Keeps the certificates of all identities of a node. close() ends it. */
export class SecretManager {
  readonly #options: SecretManagerOptions
  readonly #entries = new Map<string, Entry>()
  readonly #listeners = new Set<CertificateListener>()
  readonly #queues: Record<IssuePriority, Set<Entry>> = {
    'real-time': new Set(),
    'warm-up': new Set(),
    background: new Set(),
  }
  readonly #bucket: TokenBucket
  /** Waits for a token. */
  #pumpTimer: ClockTimer | null = null
  /** There while the CA is down. */
  #probeTimer: ClockTimer | null = null
  /** The last answer was none: nobody asks at will. */
  #isCaDown = false
  #inFlight = 0
  /** Roots of the certificate that the CA gave last; null before the first. */
  #issuedBundleId: string | null = null
  #isClosed = false

  constructor(options: SecretManagerOptions) {
    this.#options = options
    const bucket = { capacity: RENEWAL_BURST, perSecond: RENEWALS_PER_SECOND }
    this.#bucket = new TokenBucket(bucket, options.clock.passedMs)
  }

  /**
   * The identity's certificate; the first caller causes the request, all share it.
   * @throws MeshError CERT_UNAVAILABLE or the CA's reason, at once while the last attempt has failed; an attempt
   * never lasts longer than its deadline of 10 s (plus its turn in the queue), so neither does this.
   */
  get(identity: string, priority: IssuePriority = 'real-time'): Promise<WorkloadCertificate> {
    if (this.#isClosed) return Promise.reject(new MeshError('SHUTDOWN', { detail: identity }))
    const entry = this.#entries.get(identity) ?? this.#start(identity, priority)
    const valid = this.current(identity)
    if (valid !== undefined) return Promise.resolve(valid)
    if (entry.state === 'Unavailable') return Promise.reject(unavailable(entry))
    // Expired although Available: the clock jumped, or its renewal waits. Who wants it wants it now.
    this.#enqueue(entry, priority)
    this.#pump()
    return new Promise((resolve, reject) => entry.waiters.push({ resolve, reject }))
  }

  /** Asks for another certificate before its time, in turn with other renewals. */
  renew(identity: string): void {
    const entry = this.#entries.get(identity)
    if (entry === undefined) return
    this.#enqueue(entry, 'background')
    this.#pump()
  }

  /** The certificate if there is one that is still valid. */
  current(identity: string): WorkloadCertificate | undefined {
    const certificate = this.#entries.get(identity)?.certificate ?? undefined
    return certificate !== undefined && this.#options.clock.nowMs < certificate.notAfterMs
      ? certificate
      : undefined
  }

  /** Calls `listener` with every new certificate from now on. Returns how to stop. */
  subscribe(listener: CertificateListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Drops an identity: its key, its renewal, its callers (they are rejected). */
  forget(identity: string): void {
    const entry = this.#entries.get(identity)
    if (entry === undefined) return
    this.#entries.delete(identity)
    entry.isForgotten = true
    entry.timer?.cancel()
    entry.savedTimer?.cancel()
    entry.certificate = null
    entry.saved = null
    if (entry.queuedAs !== null) this.#queues[entry.queuedAs].delete(entry)
    this.#rejectWaiters(entry, new MeshError('CERT_UNAVAILABLE', { detail: `${identity} was forgotten` }))
  }

  /** Every identity, in the order they came. */
  list(): CertificateStatus[] {
    return [...this.#entries.values()].map((entry) => ({
      identity: entry.identity,
      state: this.#stateOf(entry),
      reason: entry.reason,
      renewalFailures: entry.renewalFailures,
      failingSinceMs: entry.failingSinceMs,
      renewalDueMs: entry.renewalDueMs,
      certificate: entry.certificate,
    }))
  }

  /** Ends all renewals and rejects all callers. Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#pumpTimer?.cancel()
    this.#probeTimer?.cancel()
    for (const identity of [...this.#entries.keys()]) this.forget(identity)
    this.#listeners.clear()
  }

  #stateOf(entry: Entry): CertificateState {
    if (entry.certificate === null) return entry.state
    return this.current(entry.identity) === undefined ? 'Unavailable' : 'Available'
  }

  #start(identity: string, priority: IssuePriority): Entry {
    const { random } = this.#options
    const entry = new Entry(
      identity,
      new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS, random }),
    )
    this.#entries.set(identity, entry)
    entry.saved = this.#options.saved?.(identity) ?? null
    if (entry.saved !== null)
      entry.savedTimer = this.#options.clock.startTimer(SAVED_WAIT_MS, () => this.#useSaved(entry))
    this.#enqueue(entry, priority)
    this.#pump()
    return entry
  }

  /** The CA does not answer; it goes on being asked. */
  #useSaved(entry: Entry): void {
    const { saved } = entry
    entry.savedTimer?.cancel()
    entry.saved = null
    const { clock, savedGraceMs = 0 } = this.#options
    if (saved === null || clock.nowMs >= saved.notAfterMs + savedGraceMs) return
    // The CA has said meanwhile whom to believe: what another one has signed would be refused, and refuse.
    if (this.#issuedBundleId !== null && saved.trustBundleId !== this.#issuedBundleId) return
    entry.renewalDueMs = clock.nowMs
    this.#accept(entry, saved)
  }

  /** Queues, or moves to a more urgent queue. */
  #enqueue(entry: Entry, priority: IssuePriority): void {
    if (entry.isIssuing) return
    entry.timer?.cancel()
    entry.timer = null
    if (entry.queuedAs !== null) {
      if (PRIORITIES.indexOf(priority) >= PRIORITIES.indexOf(entry.queuedAs)) return
      this.#queues[entry.queuedAs].delete(entry)
    }
    entry.queuedAs = priority
    this.#queues[priority].add(entry)
  }

  #pump(): void {
    for (const priority of PRIORITIES) {
      for (const entry of this.#queues[priority]) {
        if (this.#inFlight >= MAX_IN_FLIGHT) return
        if (!this.#mayAsk(priority)) return
        this.#queues[priority].delete(entry)
        entry.queuedAs = null
        entry.isIssuing = true
        this.#inFlight++
        void this.#issue(entry)
      }
    }
  }

  /** Renewals, and everything while the CA is down, are paid for; comes back by itself when there is a token. */
  #mayAsk(priority: IssuePriority): boolean {
    if (priority !== 'background' && !this.#isCaDown) return true
    const { clock } = this.#options
    if (this.#bucket.take(clock.passedMs)) return true
    this.#pumpTimer ??= clock.startTimer(1000 / RENEWALS_PER_SECOND, () => {
      this.#pumpTimer = null
      this.#pump()
    })
    return false
  }

  /** Never rejects. */
  async #issue(entry: Entry): Promise<void> {
    let result: WorkloadCertificate | MeshError
    try {
      result = await this.#withDeadline(this.#request(entry.identity))
    } catch (cause) {
      result =
        cause instanceof MeshError
          ? cause
          : new MeshError('CERT_UNAVAILABLE', { retryable: true, cause, detail: textOf(cause) })
    }
    this.#inFlight--
    const wasCaDown = this.#isCaDown
    this.#isCaDown = result instanceof MeshError && result.retryable
    entry.isIssuing = false
    if (!entry.isForgotten) {
      if (result instanceof MeshError) this.#onFailure(entry, result)
      else this.#onCertificate(entry, result)
    }
    if (this.#isCaDown) this.#probeLater()
    else if (wasCaDown) this.#retryAll()
    this.#pump()
  }

  async #request(identity: string): Promise<WorkloadCertificate> {
    const { issuer, requests, clock, ttlSeconds = DEFAULT_TTL_SECONDS } = this.#options
    const { owner, csrPem } = await requests.begin(identity)
    const chain = await issuer.issue(identity, csrPem, ttlSeconds)
    return await requests.finish(owner, chain, clock.nowMs)
  }

  /** A late answer is dropped with its key: the retry has a fresh one. */
  #withDeadline(request: Promise<WorkloadCertificate>): Promise<WorkloadCertificate> {
    return new Promise((resolve, reject) => {
      const timer = this.#options.clock.startTimer(ISSUE_TIMEOUT_MS, () =>
        reject(
          new MeshError('CERT_UNAVAILABLE', { retryable: true, detail: 'the CA did not answer in time' }),
        ),
      )
      request.then(resolve, reject).finally(() => timer.cancel())
    })
  }

  #onCertificate(entry: Entry, certificate: WorkloadCertificate): void {
    this.#issuedBundleId = certificate.trustBundleId
    entry.savedTimer?.cancel()
    entry.saved = null
    entry.reason = ''
    entry.renewalFailures = 0
    entry.failingSinceMs = null
    entry.backoff.reset()
    const delayMs = this.#renewalDelayMs(certificate)
    entry.renewalDueMs = this.#options.clock.nowMs + delayMs
    this.#scheduleAfter(entry, delayMs)
    this.#accept(entry, certificate)
  }

  #accept(entry: Entry, certificate: WorkloadCertificate): void {
    entry.certificate = certificate
    entry.state = 'Available'
    for (const listener of this.#listeners) listener(certificate)
    const waiters = entry.waiters
    entry.waiters = []
    for (const { resolve } of waiters) resolve(certificate)
  }

  #onFailure(entry: Entry, error: MeshError): void {
    entry.reason = error.detail === '' ? error.code : `${error.code}: ${error.detail}`
    entry.reasonCode = error.code
    const nowMs = this.#options.clock.nowMs
    entry.renewalFailures++
    entry.failingSinceMs ??= nowMs
    this.#useSaved(entry)
    const remainingMs = (entry.certificate?.notAfterMs ?? 0) - nowMs
    const hasValid = remainingMs > 0
    if (!hasValid) entry.state = 'Unavailable'
    // SPEC HBONE §2: an old valid certificate is kept; the retry comes no later than its expiry.
    const delayMs = entry.backoff.next()
    this.#scheduleAfter(entry, hasValid ? Math.min(delayMs, remainingMs) : delayMs)
    this.#rejectWaiters(entry, unavailable(entry))
  }

  /** The pauses of each identity grow to minutes, and without a certificate nobody has traffic: one of them asks earlier. */
  #probeLater(): void {
    if (this.#isClosed) return
    const { clock, random } = this.#options
    const delayMs = PROBE_INTERVAL_MS * (1 + PROBE_JITTER * random())
    this.#probeTimer ??= clock.startTimer(delayMs, () => {
      this.#probeTimer = null
      const lacks = (entry: Entry): boolean => isPausing(entry) && this.current(entry.identity) === undefined
      const entries = [...this.#entries.values()].filter(lacks)
      // Any of them: one that the CA has trouble with must not stand for all.
      const chosen = entries[Math.floor(random() * entries.length)]
      if (chosen === undefined) return
      this.#enqueue(chosen, 'background')
      this.#pump()
    })
  }

  /** The CA answers again. */
  #retryAll(): void {
    for (const entry of this.#entries.values()) if (isPausing(entry)) this.#enqueue(entry, 'background')
  }

  #renewalDelayMs({ notBeforeMs, notAfterMs }: WorkloadCertificate): number {
    // SPEC HBONE §2: renewal at notBefore + (notAfter - notBefore) / 2.
    const { nowMs } = this.#options.clock
    const lifetimeMs = notAfterMs - notBeforeMs
    const earlierMs = lifetimeMs * RENEWAL_JITTER * this.#options.random()
    const delayMs = notBeforeMs + lifetimeMs / 2 - earlierMs - nowMs
    return Math.max(MIN_RENEWAL_MS, (notAfterMs - nowMs) * MIN_RENEWAL_SHARE, delayMs)
  }

  /** Comes when so much time has passed, or when the clock says so: it may have been set forward, or back too far. */
  #scheduleAfter(entry: Entry, delayMs: number, dueMs = this.#options.clock.nowMs + delayMs): void {
    const { clock } = this.#options
    const partMs = Math.min(delayMs, CLOCK_CHECK_MS)
    entry.timer?.cancel()
    entry.timer = clock.startTimer(partMs, () => {
      entry.timer = null
      const isEarly = clock.nowMs < (entry.certificate?.notBeforeMs ?? 0) // it was not when it came
      const isDue = clock.nowMs >= dueMs || (isEarly && entry.renewalFailures === 0)
      if (partMs < delayMs && !isDue) {
        this.#scheduleAfter(entry, delayMs - partMs, dueMs)
        return
      }
      this.#enqueue(entry, 'background')
      this.#pump()
    })
  }

  #rejectWaiters(entry: Entry, error: MeshError): void {
    const waiters = entry.waiters
    entry.waiters = []
    for (const { reject } of waiters) reject(error)
  }
}

/** It waits because its last attempt has failed. */
function isPausing(entry: Entry): boolean {
  return entry.timer !== null && entry.renewalFailures > 0
}

function unavailable(entry: Entry): MeshError {
  return new MeshError(entry.reasonCode, { retryable: true, detail: `${entry.identity}: ${entry.reason}` })
}

function textOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
