// SPDX-License-Identifier: Apache-2.0
// One SSL_CTX per worker and trust bundle, for both roles; certificates are set per connection. Verification and
// ALPN run in two C callbacks registered once per thread. The identity is checked inside the verify callback, so
// that a bad peer gets a TLS alert instead of a closed connection.
// SPEC HBONE wire-protocols §3.1: TLS 1.3 only, AES-GCM, ALPN h2, mutual, no SNI, no resumption.
import { MeshError } from '../errors/mesh-error.ts'
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import type { Block } from './byte-stream.ts'
import { type CertificateGrace, decideGrace, peerFingerprint, secondsSinceEnd } from './certificate-grace.ts'
import { addressOf, allocateBlock, copyFrom, copyTo, type Pointer, registerCallback } from './ffi/native.ts'
import * as o from './ffi/openssl.ts'
import {
  isRevoked,
  type PresentedCertificate,
  presentedCertificate,
  type RevokedCertificates,
  urisOf,
} from './presented-certificate.ts'

/** OpenSSL reads up to this much ahead: one read(2) for several records. */
const READ_AHEAD_BYTES = 131_072
/** Post-quantum hybrid first, both offered with a key share: no second round trip with peers that lack it. */
const GROUPS = ['*X25519MLKEM768:*X25519', 'X25519MLKEM768:X25519', 'X25519:P-256']
const CIPHER_SUITES = 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'
/** A chain longer than this is refused: leaf, two intermediates, root, and one to spare. */
const MAX_CHAIN_DEPTH = 5

/** Decides on a peer by the URIs of its verified leaf. Runs inside the handshake: pure, quick, never throws. */
export type PeerCheck = (uris: readonly string[]) => Refusal | null

/** What the verify callback works on: the handshake being driven by this thread right now. */
export interface HandshakeInProgress {
  readonly peerCheck: PeerCheck
  /** Asked when the peer has presented its chain. */
  readonly revoked: RevokedCertificates
  /** null: a certificate that has ended is refused, and nobody is remembered. */
  readonly grace: CertificateGrace | null
  /** Of the peer's leaf when it has passed; null without grace. */
  fingerprint: Buffer | null
  /** The peer's leaf has ended and was forgiven. */
  isInGrace: boolean
  /** Set by the callback when it refuses. */
  refusal: Refusal | null
  /** URIs of the peer's leaf, once seen. */
  uris: readonly string[]
}
const current: { handshake: HandshakeInProgress | null } = { handshake: null }

/** Runs a step of a handshake with its verification context. */
export function withHandshake(handshake: HandshakeInProgress, step: () => number): number {
  current.handshake = handshake
  try {
    return step()
  } finally {
    current.handshake = null
  }
}

const V_OK = 0
const V_CERT_NOT_YET_VALID = 9
const V_CERT_HAS_EXPIRED = 10
const V_CERT_REVOKED = 23
/** No X509_V_ERR: what OpenSSL does not know becomes alert 46, certificate_unknown (t1_trce.c's fallback). */
const V_OUR_REFUSAL = 250

/** Of a refusal by a revocation list. */
export const REVOKED_DETAIL = 'the certificate of the peer is revoked'

function reasonOfVerifyError(error: number): Refusal {
  const text = o.X509_verify_cert_error_string(error)
  if (error === V_CERT_HAS_EXPIRED) return refuse('CERT_EXPIRED', text)
  if (error === V_CERT_NOT_YET_VALID) return refuse('CERT_NOT_YET_VALID', text)
  if (error === V_CERT_REVOKED) return refuse('CERT_REVOKED', text)
  return refuse('CERT_INVALID', text)
}

/** A certificate that OpenSSL finds in order. */
function checkVerified(handshake: HandshakeInProgress, certificate: Pointer, depth: number): Refusal | null {
  if (depth > MAX_CHAIN_DEPTH) return refuse('CERT_INVALID', 'the chain is too long')
  if (isRevoked(certificate, handshake.revoked)) return refuse('CERT_REVOKED', REVOKED_DETAIL)
  return depth === 0 ? checkLeaf(handshake, certificate) : null
}

function checkLeaf(handshake: HandshakeInProgress, certificate: Pointer): Refusal | null {
  // OpenSSL accepts a CA certificate as a leaf; webpki-based peers and we do not.
  if (o.X509_check_ca(certificate) !== 0)
    return refuse('CERT_INVALID', 'a CA certificate is no workload certificate')
  const uris = urisOf(certificate)
  if (isRefusal(uris)) return uris
  handshake.uris = uris
  const refusal = handshake.peerCheck(uris)
  if (refusal === null && handshake.grace !== null)
    handshake.fingerprint = peerFingerprint(certificate, uris[0] ?? '')
  return refusal
}

/** Why a certificate that has ended stays refused; null: it is forgiven, and checked for everything else after this. */
function checkEnded(grace: CertificateGrace, certificate: Pointer, depth: number): string | null {
  const uris = urisOf(certificate)
  const fingerprint = isRefusal(uris) ? null : peerFingerprint(certificate, uris[0] ?? '')
  return decideGrace({
    depth,
    secondsSinceEnd: secondsSinceEnd(certificate),
    graceSeconds: grace.graceSeconds,
    isKnown: fingerprint !== null && grace.isKnown(fingerprint),
  })
}

/** A certificate that OpenSSL finds wrong; true when its only fault so far, its end, is forgiven. */
function isForgiven(handshake: HandshakeInProgress, context: Pointer, error: number, depth: number): boolean {
  const refusal = reasonOfVerifyError(error)
  handshake.refusal ??= refusal
  if (error !== V_CERT_HAS_EXPIRED || handshake.grace === null || handshake.refusal !== refusal) return false
  const why = checkEnded(handshake.grace, o.X509_STORE_CTX_get_current_cert(context), depth)
  handshake.refusal = why === null ? null : refuse(refusal.code, `${refusal.detail}, no grace: ${why}`)
  if (why !== null) return false
  handshake.isInGrace = true
  o.X509_STORE_CTX_set_error(context, V_OK)
  return true
}

function onVerify(isValid: number, store: number | bigint): number {
  const handshake = current.handshake
  const context = Number(store)
  if (handshake === null) return 0
  try {
    const depth = o.X509_STORE_CTX_get_error_depth(context)
    const error = o.X509_STORE_CTX_get_error(context)
    if (isValid === 0 || error !== V_OK) return isForgiven(handshake, context, error, depth) ? 1 : 0
    const refusal = checkVerified(handshake, o.X509_STORE_CTX_get_current_cert(context), depth)
    if (refusal === null) return 1
    handshake.refusal = refusal
    if (refusal.code === 'CERT_REVOKED') {
      o.X509_STORE_CTX_set_error(context, V_CERT_REVOKED) // its own alert: the peer is told why
      return 0
    }
  } catch (error) {
    handshake.refusal = refuse('INTERNAL', String(error)) // nothing may be thrown through C
  }
  o.X509_STORE_CTX_set_error(context, V_OUR_REFUSAL)
  return 0
}

/** Memory the ALPN answer points to: native and never freed. */
const alpnH2: Block = allocateBlock(3)
alpnH2.bytes.write('\x02h2', 'latin1')
/** The pointer and the length byte that the callback stores, ready to be copied. */
const alpnAnswer = Buffer.alloc(9)
alpnAnswer.writeBigUInt64LE(BigInt(alpnH2.address + 1), 0)
alpnAnswer[8] = 2
const SSL_TLSEXT_ERR_OK = 0
const SSL_TLSEXT_ERR_ALERT_FATAL = 2

/** Callbacks of this thread; they live as long as it does. */
interface ThreadCallbacks {
  readonly verify: Pointer
  readonly selectAlpn: Pointer
}
let callbacks: ThreadCallbacks | null = null

function threadCallbacks(): ThreadCallbacks {
  callbacks ??= {
    verify: registerCallback('int sidestep_verify(int, uintptr_t)', onVerify),
    selectAlpn: registerCallback(
      'int sidestep_alpn(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uint32_t, uintptr_t)',
      onSelectAlpn,
    ),
  }
  return callbacks
}

function onSelectAlpn(
  _ssl: number,
  out: number | bigint,
  outBytes: number | bigint,
  offered: number | bigint,
  offeredBytes: number,
): number {
  // SPEC RFC7301 §3.1: a list of length-prefixed names; anything malformed simply does not contain h2.
  const list = copyFrom(Number(offered), offeredBytes)
  for (let at = 0; at < list.length; at += 1 + (list[at] ?? 0)) {
    if (list[at] !== 2 || list.toString('latin1', at + 1, at + 3) !== 'h2') continue
    copyTo(Number(out), alpnAnswer.subarray(0, 8))
    copyTo(Number(outBytes), alpnAnswer.subarray(8, 9))
    return SSL_TLSEXT_ERR_OK
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL
}

/** Certificate, key and chain of one identity, parsed for this worker. Reference-counted by its sockets. */
export class TlsCredentials {
  readonly certificate: Pointer
  readonly key: Pointer
  readonly chain: readonly Pointer[]
  #references = 1

  /** `chainPem` is leaf first, without the root. @throws CERT_INVALID */
  constructor(chainPem: readonly string[], privateKeyPem: string) {
    if (chainPem.length === 0) throw new MeshError('CERT_INVALID', { detail: 'an empty chain' })
    const parsed: Pointer[] = []
    const keyBytes = Buffer.from(privateKeyPem)
    try {
      for (const pem of chainPem) {
        const bytes = Buffer.from(pem)
        parsed.push(o.readCertificate(bytes, addressOf(bytes)))
      }
      this.key = o.readPrivateKey(keyBytes, addressOf(keyBytes))
    } catch (error) {
      for (const certificate of parsed) o.freeCertificate(certificate)
      throw error
    } finally {
      keyBytes.fill(0)
    }
    const [leaf = 0, ...chain] = parsed
    this.certificate = leaf
    this.chain = chain
  }

  /** What a handshake with these presents, read from the native certificate. */
  get presented(): PresentedCertificate {
    return presentedCertificate(this.certificate)
  }

  /** True when a handshake with these would end well now, as far as it is their fault. */
  isUsable(revoked: RevokedCertificates): boolean {
    return secondsSinceEnd(this.certificate) < 0 && !this.isRevoked(revoked)
  }

  isRevoked(revoked: RevokedCertificates): boolean {
    return isRevoked(this.certificate, revoked)
  }

  /** What `ssl` presents from now on. It takes references of its own. */
  useIn(ssl: Pointer): void {
    o.ERR_clear_error()
    o.SSL_use_certificate(ssl, this.certificate)
    o.SSL_use_PrivateKey(ssl, this.key)
    // larg 1: the SSL takes its own reference
    for (const pointer of this.chain) o.SSL_ctrl(ssl, o.SSL_CTRL_CHAIN_CERT, 1, pointer)
  }

  retain(): void {
    this.#references++
  }

  /** Gives one reference back; the last one frees the native objects. */
  release(): void {
    if (--this.#references > 0) return
    o.freeCertificate(this.certificate)
    for (const certificate of this.chain) o.freeCertificate(certificate)
    o.freeKey(this.key)
  }
}

/** The SSL_CTX of one trust bundle in this worker. Never crosses threads. */
export class TlsContext {
  readonly pointer: Pointer
  #isFreed = false

  /** `rootsPem`: one certificate per element; they alone are trusted. @throws CERT_INVALID, NATIVE_UNSUPPORTED */
  constructor(rootsPem: readonly string[]) {
    o.assertOpensslSupported()
    this.pointer = o.newSslContext()
    try {
      this.#configure(rootsPem)
    } catch (error) {
      this.free()
      throw error
    }
  }

  #configure(rootsPem: readonly string[]): void {
    const context = this.pointer
    const set = (command: number, large: number): void => {
      o.SSL_CTX_ctrl(context, command, large, 0)
    }
    set(o.SSL_CTRL_SET_MIN_PROTO_VERSION, o.TLS1_3_VERSION)
    set(o.SSL_CTRL_SET_MAX_PROTO_VERSION, o.TLS1_3_VERSION)
    set(
      o.SSL_CTRL_MODE,
      o.SSL_MODE_ENABLE_PARTIAL_WRITE | o.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | o.SSL_MODE_RELEASE_BUFFERS,
    )
    set(o.SSL_CTRL_SET_READ_AHEAD, 1)
    set(o.SSL_CTRL_SET_SESS_CACHE_MODE, 0)
    o.SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES)
    o.SSL_CTX_set_options(context, o.SSL_OP_NO_TICKET | o.SSL_OP_NO_COMPRESSION)
    o.SSL_CTX_set_num_tickets(context, 0)
    if (o.SSL_CTX_set_ciphersuites(context, CIPHER_SUITES) !== 1) throw unsupported('cipher suites')
    o.ERR_clear_error()
    const hasGroups = GROUPS.some(
      (names) => o.SSL_CTX_set_groups(context, o.SSL_CTRL_SET_GROUPS_LIST, 0, names) === 1,
    )
    o.ERR_clear_error() // older libraries refuse the first lists: expected
    if (!hasGroups) throw unsupported('key exchange groups')
    const store = o.SSL_CTX_get_cert_store(context)
    for (const pem of rootsPem) {
      const bytes = Buffer.from(pem)
      const root = o.readCertificate(bytes, addressOf(bytes))
      o.X509_STORE_add_cert(store, root)
      o.freeCertificate(root)
    }
    o.SSL_CTX_set_verify(context, o.SSL_VERIFY_PEER_ALWAYS, threadCallbacks().verify)
    o.SSL_CTX_set_alpn_select_cb(context, threadCallbacks().selectAlpn, 0)
    if (o.SSL_CTX_set_alpn_protos(context, alpnH2.address, 3) !== 0) throw unsupported('ALPN')
  }

  /** Frees our reference; sockets that still use the context keep it alive in OpenSSL. */
  free(): void {
    if (this.#isFreed) return
    this.#isFreed = true
    o.freeSslContext(this.pointer)
  }
}

function unsupported(what: string): MeshError {
  return new MeshError('NATIVE_UNSUPPORTED', { detail: `OpenSSL refuses ${what}: ${o.takeOpensslError()}` })
}
