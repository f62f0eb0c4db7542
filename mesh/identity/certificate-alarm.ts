// SPDX-License-Identifier: Apache-2.0
// How worried should one be about a certificate that has to be renewed? Pure. Attempts that fail soon after the time has
// come are normal; what is left of the time until the end says how urgent it is.
import type { CertificateStatus } from './secret-manager.ts'

/**
 * none: as it should be. Past its renewal: late, half of the time gone: urgent, four fifths: critical, all: expired.
 * missing: there was none yet and asking failed. not-yet-valid: this node's clock is before the certificate's begin.
 */
export const CERTIFICATE_ALARMS = [
  'none',
  'late',
  'urgent',
  'critical',
  'expired',
  'missing',
  'not-yet-valid',
] as const
export type CertificateAlarm = (typeof CERTIFICATE_ALARMS)[number]

/** Shares of the time between renewal and end that have gone by. */
const LATE_SHARE = 0.1
const URGENT_SHARE = 0.5
const CRITICAL_SHARE = 0.8

/** What an alarm depends on. */
export type AlarmFacts = Pick<CertificateStatus, 'renewalFailures' | 'renewalDueMs'> & {
  readonly certificate: { readonly notBeforeMs: number; readonly notAfterMs: number } | null
}

/** The alarm of one identity at a time of day, epoch ms. */
export function certificateAlarm(
  { certificate, renewalFailures, renewalDueMs }: AlarmFacts,
  nowMs: number,
): CertificateAlarm {
  if (certificate === null) return renewalFailures > 0 ? 'missing' : 'none'
  const { notBeforeMs, notAfterMs } = certificate
  if (nowMs >= notAfterMs) return 'expired'
  if (nowMs < notBeforeMs) return 'not-yet-valid'
  const dueMs = renewalDueMs ?? halfLifeMs(certificate)
  const goneShare = (nowMs - dueMs) / Math.max(1, notAfterMs - dueMs)
  if (goneShare >= CRITICAL_SHARE) return 'critical'
  if (goneShare >= URGENT_SHARE) return 'urgent'
  return goneShare >= LATE_SHARE ? 'late' : 'none'
}

/** When half of a certificate's life is over, epoch ms. */
export function halfLifeMs(certificate: {
  readonly notBeforeMs: number
  readonly notAfterMs: number
}): number {
  return (certificate.notBeforeMs + certificate.notAfterMs) / 2
}
