// SPDX-License-Identifier: Apache-2.0
// Looks after all certificates of the process: tells of those that are not renewed although their time has come, more
// urgently the nearer their end, and of workers that present another certificate than the one stored, which get it
// again. Never stops anything: what is still valid is used.

import type { WorkloadCertificate } from '../mesh/identity/certificate.ts'
import {
  CERTIFICATE_ALARMS,
  type CertificateAlarm,
  certificateAlarm,
} from '../mesh/identity/certificate-alarm.ts'
import type { CertificateStatus } from '../mesh/identity/secret-manager.ts'
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { compareCertificates, type LiveCertificates, type Mismatch } from './live-certificates.ts'

/** How often certificates are looked at. */
export const CERTIFICATE_CHECK_MS = 5000
/** Identities named in one log entry; the rest is a number. */
const MAX_NAMED = 5

/** What the watch looks at. */
export interface CertificateWatchOptions {
  /** Certificates that the workers present. */
  readonly workloads: () => readonly CertificateStatus[]
  /** The node's own; null when it has none. */
  readonly node: () => CertificateStatus | null
  /** What each worker that answers presents. Asked after `workloads` was read. */
  readonly live: () => Promise<readonly LiveCertificates[]>
  /** Sends a worker the stored certificate again. */
  readonly resend: (worker: number, identity: string) => void
  readonly isRevoked: (certificate: WorkloadCertificate) => boolean
  /** Asks for another certificate of a workload. */
  readonly renew: (identity: string) => void
  readonly clock: Clock
  /** Milliseconds that no setting of the clock changes. */
  readonly monotonicMs: () => number
  readonly log: Log
}

/** Certificates in trouble by what is wrong with them. */
export type TroubleCounts = Readonly<
  Record<Exclude<CertificateAlarm, 'none'> | 'not-live' | 'revoked', number>
>

/** idle → watching → idle. */
export class CertificateWatch {
  readonly #options: CertificateWatchOptions
  readonly #told = new Map<string, CertificateAlarm>()
  /** Revoked certificates that were told of, by identity. */
  #revoked: ReadonlyMap<string, WorkloadCertificate> = new Map()
  #mismatches: readonly Mismatch[] = []
  #timer: ClockTimer | null = null
  #isClosed = false

  constructor(options: CertificateWatchOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = this.#options.clock.startTimer(CERTIFICATE_CHECK_MS, () => {
      void this.check().finally(() => {
        if (!this.#isClosed) this.start()
      })
    })
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  /** Workers that presented something else at the last look. */
  get mismatches(): readonly Mismatch[] {
    return this.#mismatches
  }

  /** For metrics: by the clock of now. */
  counts(): TroubleCounts {
    const { clock } = this.#options
    const counts = { late: 0, urgent: 0, critical: 0, expired: 0, missing: 0, 'not-yet-valid': 0 }
    for (const status of this.#statuses()) {
      const alarm = certificateAlarm(status, clock.nowMs)
      if (alarm !== 'none') counts[alarm]++
    }
    return {
      ...counts,
      revoked: this.#revokedNow().size,
      'not-live': this.#mismatches.filter(({ isAlarm }) => isAlarm).length,
    }
  }

  /** One look. Never rejects. */
  async check(): Promise<void> {
    try {
      this.#tellRevoked()
      this.#tellRenewals()
      await this.#compareLive()
    } catch (err) {
      this.#options.log.error({ err }, 'certificates could not be looked at')
    }
  }

  #statuses(): readonly CertificateStatus[] {
    const { workloads, node } = this.#options
    const own = node()
    return own === null ? workloads() : [...workloads(), own]
  }

  #revokedNow(): ReadonlyMap<string, WorkloadCertificate> {
    const { isRevoked } = this.#options
    return new Map(
      this.#statuses().flatMap(({ identity, certificate }) =>
        certificate !== null && isRevoked(certificate) ? [[identity, certificate] as const] : [],
      ),
    )
  }

  /** Peers turn away who presents it: another one is asked for, once for each; what fails is tried again by its turn. */
  #tellRevoked(): void {
    const { log, renew } = this.#options
    const before = this.#revoked
    this.#revoked = this.#revokedNow()
    const added = [...this.#revoked].filter(([identity, certificate]) => before.get(identity) !== certificate)
    if (added.length > 0)
      log.error(
        {
          ...{ reason: 'CERT_REVOKED', count: added.length },
          certificates: added
            .slice(0, MAX_NAMED)
            .map(([identity, { serialNumber }]) => ({ identity, serialNumber })),
        },
        'certificates of this node are revoked; others are asked for',
      )
    for (const [identity] of added) renew(identity)
    if (before.size > 0 && this.#revoked.size === 0)
      log.info('no certificate of this node is revoked any more')
  }

  /** One entry per level and look: a thousand certificates of one CA get into trouble together. */
  #tellRenewals(): void {
    const { clock } = this.#options
    const statuses = this.#statuses()
    const changed = new Map<CertificateAlarm, CertificateStatus[]>()
    for (const status of statuses) {
      const alarm = certificateAlarm(status, clock.nowMs)
      if (alarm === (this.#told.get(status.identity) ?? 'none')) continue
      this.#told.set(status.identity, alarm)
      const list = changed.get(alarm) ?? []
      list.push(status)
      changed.set(alarm, list)
    }
    const known = new Set(statuses.map(({ identity }) => identity))
    for (const identity of this.#told.keys()) if (!known.has(identity)) this.#told.delete(identity)
    for (const alarm of CERTIFICATE_ALARMS) this.#tell(alarm, changed.get(alarm) ?? [])
  }

  #tell(alarm: CertificateAlarm, statuses: readonly CertificateStatus[]): void {
    const [first] = statuses
    if (first === undefined) return
    const { log } = this.#options
    const which = {
      count: statuses.length,
      identities: statuses.slice(0, MAX_NAMED).map(({ identity }) => identity),
    }
    if (alarm === 'none') {
      log.info(which, 'certificates are renewed again')
      return
    }
    const ends = statuses.flatMap(({ certificate }) => certificate?.notAfterMs ?? [])
    const since = statuses.flatMap(({ failingSinceMs }) => failingSinceMs ?? [])
    const entry = {
      reason: 'CERT_NOT_RENEWED',
      alarm,
      ...which,
      renewalFailures: Math.max(...statuses.map(({ renewalFailures }) => renewalFailures)),
      lastFailure: first.reason,
      failingSince: since.length === 0 ? null : new Date(Math.min(...since)).toISOString(),
      expires: ends.length === 0 ? null : new Date(Math.min(...ends)).toISOString(),
    }
    log[alarm === 'late' ? 'warn' : 'error'](entry, 'certificates are not renewed')
  }

  async #compareLive(): Promise<void> {
    const { workloads, live, resend, monotonicMs, log } = this.#options
    const stored = storedSerialNumbers(workloads())
    const workers = await live()
    if (this.#isClosed) return
    const before = new Set(this.#mismatches.filter(({ isAlarm }) => isAlarm).map(nameOf))
    this.#mismatches = compareCertificates(this.#mismatches, stored, workers, monotonicMs())
    const alarms = this.#mismatches.filter(({ isAlarm }) => isAlarm)
    for (const { worker, identity } of alarms) resend(worker, identity)
    const added = alarms.filter((each) => !before.has(nameOf(each)))
    if (added.length > 0)
      log.error(
        { reason: 'CERT_NOT_LIVE', count: added.length, certificates: added.slice(0, MAX_NAMED) },
        'a worker does not present the stored certificate; it is sent again',
      )
    if (before.size > 0 && alarms.length === 0) log.info('all workers present what is stored')
  }
}

const nameOf = ({ worker, identity }: Mismatch): string => `${worker} ${identity}`

/** Serial numbers of the stored certificates by identity. */
export function storedSerialNumbers(statuses: readonly CertificateStatus[]): ReadonlyMap<string, string> {
  return new Map(
    statuses.flatMap(({ identity, certificate }) =>
      certificate === null ? [] : [[identity, certificate.serialNumber] as const],
    ),
  )
}
