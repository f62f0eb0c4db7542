// SPDX-License-Identifier: Apache-2.0
// What is known when a handshake has ended, and what is given up then: neither the ephemeral keys nor the public keys
// of the peer's certificates are needed any more, but OpenSSL keeps them as long as the connection lives, 11 KB of the
// 46 KB that an idle tunnel cost. The private ephemeral key is better gone anyway.
import type { CloseReason } from './byte-stream.ts'
import type { CertificateGrace } from './certificate-grace.ts'
import { describeErrno, errno } from './ffi/libc.ts'
import { allocateBlock, type Pointer } from './ffi/native.ts'
import * as o from './ffi/openssl.ts'
import { NONE_REVOKED, type RevokedCertificates } from './presented-certificate.ts'
import type { HandshakeInProgress, PeerCheck } from './tls-context.ts'

/** Facts of a finished handshake. */
export interface PeerFacts {
  /** URIs of the peer's leaf certificate. */
  readonly uris: readonly string[]
  readonly protocol: string
  readonly cipher: string
  /** Key exchange group, null where the library does not tell. */
  readonly group: string | null
}

/** What is asked of the peer. */
export interface HandshakeChecks {
  readonly peerCheck: PeerCheck
  /** Default: nothing is. */
  readonly revoked?: RevokedCertificates
  /** Default: a certificate that has ended is refused. */
  readonly grace?: CertificateGrace | null
}

export function beginHandshake({
  peerCheck,
  revoked = NONE_REVOKED,
  grace = null,
}: HandshakeChecks): HandshakeInProgress {
  return { peerCheck, revoked, grace, refusal: null, uris: [], fingerprint: null, isInGrace: false }
}

/** Of a handshake that has succeeded: what is known of the peer. */
export function endHandshake(ssl: Pointer, handshake: HandshakeInProgress): PeerFacts {
  // Only now has the peer shown that the key is its own.
  const { grace, fingerprint, isInGrace, uris } = handshake
  if (grace !== null && fingerprint !== null) grace.onPeer(fingerprint, isInGrace, uris)
  const peer = peerFacts(ssl, uris)
  forgetHandshakeKeys(ssl)
  return peer
}

export function peerFacts(ssl: Pointer, uris: readonly string[]): PeerFacts {
  return {
    uris,
    protocol: o.SSL_get_version(ssl),
    cipher: o.SSL_CIPHER_get_name(o.SSL_get_current_cipher(ssl)),
    group: o.SSL_get0_group_name(ssl),
  }
}

/** Why a handshake step failed, for the one who started it. `error`: what SSL_get_error said. */
export function handshakeFailure(handshake: HandshakeInProgress, error: number): CloseReason {
  const errnoNow = errno()
  const failure = o.takeOpensslFailure()
  if (handshake.refusal !== null) return { code: handshake.refusal.code, detail: handshake.refusal.detail }
  if (error === o.SSL_ERROR_SYSCALL) {
    const detail = errnoNow === 0 ? 'the peer closed during the handshake' : describeErrno(errnoNow)
    return { code: 'TLS_HANDSHAKE', detail }
  }
  if (failure.isCertificateMissing) return { code: 'CERT_MISSING', detail: 'no certificate was presented' }
  return { code: 'TLS_HANDSHAKE', detail: failure.text }
}

/** Why an open connection failed; takes what OpenSSL has to say of it. `errnoNow`: of a failed system call. */
export function streamFailure(error: number, errnoNow = 0): CloseReason {
  const failure = o.takeOpensslFailure()
  if (failure.alert >= 0) return { code: 'TLS_HANDSHAKE', detail: `the peer sent alert: ${failure.text}` }
  if (error === o.SSL_ERROR_SYSCALL) {
    return { code: 'TUNNEL_RESET', detail: errnoNow === 0 ? 'connection lost' : describeErrno(errnoNow) }
  }
  // SPEC RFC8446 §6.1: an end without close_notify may be a truncation, never a regular end.
  return { code: failure.text.includes('eof') ? 'TUNNEL_RESET' : 'TLS_BROKEN', detail: failure.text }
}

/** Where OpenSSL stores the key it is asked for. */
const answer = allocateBlock(8)

/**
 * Frees the keys of a finished handshake. Nothing reads them again: TLS 1.3 derives all later keys from secrets
 * (RFC 8446 §7), nothing is resumed, and no certificate is asked for later.
 */
export function forgetHandshakeKeys(ssl: Pointer): void {
  forgetEphemeral(ssl, o.SSL_CTRL_GET_TMP_KEY)
  forgetEphemeral(ssl, o.SSL_CTRL_GET_PEER_TMP_KEY)
  const leaf = o.SSL_get1_peer_certificate(ssl)
  if (leaf !== 0) {
    emptyKey(o.X509_get0_pubkey(leaf))
    o.dropCertificate(leaf)
  }
  const chain = o.SSL_get_peer_cert_chain(ssl)
  for (let index = chain === 0 ? 0 : o.OPENSSL_sk_num(chain); index-- > 0; )
    emptyKey(o.X509_get0_pubkey(o.OPENSSL_sk_value(chain, index)))
  o.ERR_clear_error()
}

function forgetEphemeral(ssl: Pointer, command: number): void {
  answer.bytes.fill(0)
  if (o.SSL_ctrl(ssl, command, 0, answer.address) !== 1) return
  const key = Number(answer.bytes.readBigUInt64LE(0))
  emptyKey(key)
  o.dropKey(key)
}

/** An EVP_PKEY that another type is given to frees what it held; an empty X25519 key is a few bytes. */
function emptyKey(key: Pointer): void {
  if (key !== 0) o.EVP_PKEY_set_type(key, o.NID_X25519)
}
