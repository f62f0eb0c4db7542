// SPDX-License-Identifier: Apache-2.0
// Certificates as `/config_dump` prints them (SPEC HBONE §7.2). Public parts only: no private key leaves here.
import { isRefusal } from '../errors/refusal.ts'
import { parseCertificate } from './pki.ts'
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
  readonly certChain: readonly DumpedCertificate[]
  readonly rootCerts: readonly DumpedCertificate[]
}

/** The dump of one identity. */
export function dumpIdentity(status: CertificateStatus): DumpedIdentity {
  return {
    identity: status.identity,
    state: status.state === 'Unavailable' ? `Unavailable: ${status.reason}` : status.state,
    certChain: (status.certificate?.chainPem ?? []).flatMap(dumpCertificate),
    rootCerts: (status.certificate?.rootsPem ?? []).flatMap(dumpCertificate),
  }
}

function dumpCertificate(pem: string): DumpedCertificate[] {
  const facts = parseCertificate(pem)
  if (isRefusal(facts)) return []
  return [
    {
      pem: Buffer.from(facts.pem).toString('base64'),
      serialNumber: facts.serialNumber,
      validFrom: seconds(facts.notBeforeMs),
      expirationTime: seconds(facts.notAfterMs),
    },
  ]
}

function seconds(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d{3}Z$/, 'Z')
}
