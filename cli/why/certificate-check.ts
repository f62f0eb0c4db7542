// SPDX-License-Identifier: Apache-2.0
// Would these two certificates get through a handshake? Pure but for the cryptography; the clocks are those of the nodes.
import { X509Certificate } from 'node:crypto'
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import type { IdentityFacts } from '../../ztunnel/decide/node-view.ts'

/** What is wrong with a certificate. `isCause`: no handshake succeeds with it. */
export interface CertificateProblem {
  readonly code: ReasonCode
  readonly detail: string
  readonly isCause: boolean
}

/** No real hierarchy is deeper. */
const MAX_CHAIN = 16

/** What is wrong with a certificate by itself, at a time of the node that has it; null: nothing. */
export function certificateProblem(facts: IdentityFacts | null, nowMs: number): CertificateProblem | null {
  const cause = (code: ReasonCode, detail: string): CertificateProblem => ({ code, detail, isCause: true })
  if (facts === null) return cause('CERT_UNAVAILABLE', 'the node has asked for no certificate yet')
  const { identity, state, lastFailure, renewalFailures, validFrom, expirationTime, chainPem } = facts
  const why = lastFailure === '' ? '' : `: ${lastFailure}`
  if (chainPem.length === 0) return cause('CERT_UNAVAILABLE', `${identity} is ${state}${why}`)
  if (Date.parse(expirationTime) <= nowMs)
    return cause('CERT_EXPIRED', `that of ${identity} ended at ${expirationTime}${why}`)
  if (Date.parse(validFrom) > nowMs) {
    const now = new Date(nowMs).toISOString()
    return cause(
      'CERT_NOT_YET_VALID',
      `that of ${identity} begins at ${validFrom}, the clock of the node says ${now}`,
    )
  }
  if (renewalFailures === 0) return null
  const detail = `${renewalFailures} attempts to renew that of ${identity} failed, it ends at ${expirationTime}${why}`
  return { code: 'CERT_NOT_RENEWED', detail, isCause: false }
}

/** Whose certificate the other end would not believe, one sentence; '' when both are believed. Both have certificates. */
export function distrust(caller: IdentityFacts, destination: IdentityFacts): string {
  for (const [shown, reader] of [
    [caller, destination],
    [destination, caller],
  ] as const)
    if (!isSignedBy(shown.chainPem, reader.rootsPem))
      return `no root that ${reader.identity} trusts has signed the certificate of ${shown.identity}`
  return ''
}

/** '' for what is no SPIFFE id. */
export function trustDomainOf(identity: string): string {
  return /^spiffe:\/\/([^/]+)\//.exec(identity)?.[1] ?? ''
}

function isSignedBy(chainPem: readonly string[], rootsPem: readonly string[]): boolean {
  try {
    const roots = rootsPem.map((pem) => new X509Certificate(pem))
    const chain = chainPem.slice(0, MAX_CHAIN).map((pem) => new X509Certificate(pem))
    for (const [index, certificate] of chain.entries()) {
      const isOf = (issuer: X509Certificate): boolean =>
        certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
      if (roots.some(isOf)) return true
      const next = chain[index + 1]
      if (next === undefined || !isOf(next)) return false
    }
    return false
  } catch {
    return false // a dump may hold anything
  }
}
