// SPDX-License-Identifier: Apache-2.0
// Certificates as `/config_dump` prints them (SPEC HBONE §7.2). Public parts only: no private key leaves here.
import { X509Certificate } from 'node:crypto'
import type { CertificateStatus } from './secret-manager.ts'

/** One certificate of a dump. Times are RFC 3339 in whole seconds, UTC. */
export interface DumpedCertificate {
  /** base64 of the PEM text. */
  readonly pem: string
  readonly serialNumber: string
  readonly validFrom: string
  readonly expirationTime: string
}

/** One identity of a dump. */
export interface DumpedIdentity {
  readonly identity: string
  /** `Available`, `Initializing` or `Unavailable: <reason>`. */
  readonly state: string
  /** Failed attempts since the last certificate, the last reason ('' without one) and the time of the first. */
  readonly renewalFailures: number
  readonly lastFailure: string
  readonly failingSince: string | null
  readonly certChain: readonly DumpedCertificate[]
  readonly rootCerts: readonly DumpedCertificate[]
}

/** The dump of one identity. */
export function dumpIdentity(status: CertificateStatus): DumpedIdentity {
  return {
    identity: status.identity,
    state: status.state === 'Unavailable' ? `Unavailable: ${status.reason}` : status.state,
    renewalFailures: status.renewalFailures,
    lastFailure: status.reason,
    failingSince: status.failingSinceMs === null ? null : seconds(new Date(status.failingSinceMs)),
    certChain: (status.certificate?.chainPem ?? []).map(dumpCertificate),
    rootCerts: (status.certificate?.rootsPem ?? []).map(dumpCertificate),
  }
}

function dumpCertificate(pem: string): DumpedCertificate {
  // Certificates of a SecretManager were read once, so they can be read; node's reader spares us the PKI libraries.
  const certificate = new X509Certificate(pem)
  return {
    pem: Buffer.from(pem).toString('base64'),
    serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
    validFrom: seconds(certificate.validFromDate),
    expirationTime: seconds(certificate.validToDate),
  }
}

function seconds(at: Date): string {
  return at.toISOString().replace(/\.\d{3}Z$/, 'Z')
}
