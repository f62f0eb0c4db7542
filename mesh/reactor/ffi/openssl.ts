// SPDX-License-Identifier: Apache-2.0
// Typed calls of the OpenSSL that the Node binary carries (or a distribution's libssl.so.3). Everything created here is
// counted until it is freed (handle-counts.ts). Macros of the C headers are spelled as the *_ctrl call they expand to.
import { MeshError } from '../../errors/mesh-error.ts'
import { BIO, countCreated, countFreed, EVP_PKEY, HANDLE_KINDS, SSL, SSL_CTX, X509 } from './handle-counts.ts'
import { bindFunction, hasSymbol, openLibrary, type Pointer } from './native.ts'

type N = number
type P = Pointer

function openOpenssl(): ReturnType<typeof openLibrary> {
  const own = openLibrary(null)
  return hasSymbol(own, 'SSL_CTX_new') ? own : openLibrary('libssl.so.3')
}
const library = openOpenssl()
const f = <F>(prototype: string): F => bindFunction<F>(library, prototype)

const OpenSSL_version_num = f<() => N>('uint64_t OpenSSL_version_num()')
/** 3.0.0: older ones lack SSL_get1_peer_certificate and the provider model. */
const MIN_VERSION = 0x30000000
/** @throws NATIVE_UNSUPPORTED when the library is too old. */
export function assertOpensslSupported(): void {
  const version = Number(OpenSSL_version_num())
  if (version >= MIN_VERSION) return
  throw new MeshError('NATIVE_UNSUPPORTED', {
    detail: `OpenSSL 3 is needed, found 0x${version.toString(16)}`,
  })
}

export const TLS_method = f<() => P>('uintptr_t TLS_method()')
const SSL_CTX_new_ = f<(method: P) => P>('uintptr_t SSL_CTX_new(uintptr_t)')
const SSL_CTX_free_ = f<(context: P) => void>('void SSL_CTX_free(uintptr_t)')
export const SSL_CTX_ctrl = f<(context: P, command: N, large: N, pointer: P) => N>(
  'int64_t SSL_CTX_ctrl(uintptr_t, int, int64_t, uintptr_t)',
)
export const SSL_CTX_set_options = f<(context: P, options: N) => N>(
  'uint64_t SSL_CTX_set_options(uintptr_t, uint64_t)',
)
export const SSL_CTX_set_num_tickets = f<(context: P, count: N) => N>(
  'int SSL_CTX_set_num_tickets(uintptr_t, size_t)',
)
export const SSL_CTX_set_ciphersuites = f<(context: P, names: string) => N>(
  'int SSL_CTX_set_ciphersuites(uintptr_t, const char*)',
)
export const SSL_CTX_set_groups = f<(context: P, command: N, large: N, names: string) => N>(
  'int64_t SSL_CTX_ctrl(uintptr_t, int, int64_t, const char*)',
)
export const SSL_CTX_set_verify = f<(context: P, mode: N, callback: P) => void>(
  'void SSL_CTX_set_verify(uintptr_t, int, uintptr_t)',
)
export const SSL_CTX_set_alpn_select_cb = f<(context: P, callback: P, argument: P) => void>(
  'void SSL_CTX_set_alpn_select_cb(uintptr_t, uintptr_t, uintptr_t)',
)
export const SSL_CTX_set_alpn_protos = f<(context: P, protocols: P, bytes: N) => N>(
  'int SSL_CTX_set_alpn_protos(uintptr_t, uintptr_t, uint32_t)',
)
export const SSL_CTX_set_default_read_buffer_len = f<(context: P, bytes: N) => void>(
  'void SSL_CTX_set_default_read_buffer_len(uintptr_t, size_t)',
)
export const SSL_CTX_get_cert_store = f<(context: P) => P>('uintptr_t SSL_CTX_get_cert_store(uintptr_t)')
export const X509_STORE_add_cert = f<(store: P, certificate: P) => N>(
  'int X509_STORE_add_cert(uintptr_t, uintptr_t)',
)

const SSL_new_ = f<(context: P) => P>('uintptr_t SSL_new(uintptr_t)')
const SSL_free_ = f<(ssl: P) => void>('void SSL_free(uintptr_t)')
export const SSL_set0_rbio = f<(ssl: P, bio: P) => void>('void SSL_set0_rbio(uintptr_t, uintptr_t)')
export const SSL_set0_wbio = f<(ssl: P, bio: P) => void>('void SSL_set0_wbio(uintptr_t, uintptr_t)')
export const SSL_set_connect_state = f<(ssl: P) => void>('void SSL_set_connect_state(uintptr_t)')
export const SSL_set_accept_state = f<(ssl: P) => void>('void SSL_set_accept_state(uintptr_t)')
export const SSL_do_handshake = f<(ssl: P) => N>('int SSL_do_handshake(uintptr_t)')
export const SSL_read = f<(ssl: P, into: P, bytes: N) => N>('int SSL_read(uintptr_t, uintptr_t, int)')
/** 1 while bytes that were read from the socket wait inside OpenSSL, decrypted or not. */
export const SSL_has_pending = f<(ssl: P) => N>('int SSL_has_pending(uintptr_t)')
export const SSL_write = f<(ssl: P, from: P, bytes: N) => N>('int SSL_write(uintptr_t, uintptr_t, int)')
export const SSL_shutdown = f<(ssl: P) => N>('int SSL_shutdown(uintptr_t)')
export const SSL_get_error = f<(ssl: P, result: N) => N>('int SSL_get_error(uintptr_t, int)')
export const SSL_use_certificate = f<(ssl: P, certificate: P) => N>(
  'int SSL_use_certificate(uintptr_t, uintptr_t)',
)
export const SSL_use_PrivateKey = f<(ssl: P, key: P) => N>('int SSL_use_PrivateKey(uintptr_t, uintptr_t)')
export const SSL_ctrl = f<(ssl: P, command: N, large: N, pointer: P) => N>(
  'int64_t SSL_ctrl(uintptr_t, int, int64_t, uintptr_t)',
)
export const SSL_get_version = f<(ssl: P) => string>('const char* SSL_get_version(uintptr_t)')
export const SSL_get_current_cipher = f<(ssl: P) => P>('uintptr_t SSL_get_current_cipher(uintptr_t)')
export const SSL_CIPHER_get_name = f<(cipher: P) => string>('const char* SSL_CIPHER_get_name(uintptr_t)')
export const SSL_get0_group_name = hasSymbol(library, 'SSL_get0_group_name')
  ? f<(ssl: P) => string | null>('const char* SSL_get0_group_name(uintptr_t)')
  : (): null => null
export const SSL_get0_alpn_selected = f<(ssl: P, into: P, bytesInto: P) => void>(
  'void SSL_get0_alpn_selected(uintptr_t, uintptr_t, uintptr_t)',
)

export const X509_STORE_CTX_get_error = f<(store: P) => N>('int X509_STORE_CTX_get_error(uintptr_t)')
export const X509_STORE_CTX_set_error = f<(store: P, error: N) => void>(
  'void X509_STORE_CTX_set_error(uintptr_t, int)',
)
export const X509_STORE_CTX_get_error_depth = f<(store: P) => N>(
  'int X509_STORE_CTX_get_error_depth(uintptr_t)',
)
export const X509_STORE_CTX_get_current_cert = f<(store: P) => P>(
  'uintptr_t X509_STORE_CTX_get_current_cert(uintptr_t)',
)
export const X509_verify_cert_error_string = f<(error: N) => string>(
  'const char* X509_verify_cert_error_string(int64_t)',
)
export const X509_check_ca = f<(certificate: P) => N>('int X509_check_ca(uintptr_t)')
export const X509_get_ext_by_NID = f<(certificate: P, nid: N, after: N) => N>(
  'int X509_get_ext_by_NID(uintptr_t, int, int)',
)
export const X509_get_ext = f<(certificate: P, index: N) => P>('uintptr_t X509_get_ext(uintptr_t, int)')
export const X509_EXTENSION_get_data = f<(extension: P) => P>('uintptr_t X509_EXTENSION_get_data(uintptr_t)')
export const ASN1_STRING_get0_data = f<(text: P) => P>('uintptr_t ASN1_STRING_get0_data(uintptr_t)')
export const ASN1_STRING_length = f<(text: P) => N>('int ASN1_STRING_length(uintptr_t)')
export const X509_get_serialNumber = f<(certificate: P) => P>('uintptr_t X509_get_serialNumber(uintptr_t)')
/** The name inside the certificate, not a reference. */
export const X509_get_issuer_name = f<(certificate: P) => P>('uintptr_t X509_get_issuer_name(uintptr_t)')
/** Stores where the name's DER is, and how long: both stay the name's. */
export const X509_NAME_get0_der = f<(name: P, der: P, bytes: P) => N>(
  'int X509_NAME_get0_der(uintptr_t, uintptr_t, uintptr_t)',
)
/** The key as it stands in the certificate, not a reference. */
export const X509_get_X509_PUBKEY = f<(certificate: P) => P>('uintptr_t X509_get_X509_PUBKEY(uintptr_t)')
/** Length of the key's DER; it is written to where `cursor` points, which moves behind it, unless `cursor` is 0. */
export const i2d_X509_PUBKEY = f<(key: P, cursor: P) => N>('int i2d_X509_PUBKEY(uintptr_t, uintptr_t)')
/** The time inside the certificate, not a reference. */
export const X509_get0_notAfter = f<(certificate: P) => P>('uintptr_t X509_get0_notAfter(uintptr_t)')
/** Stores the days and seconds from one time to another, two ints; 0 as a time: now. */
export const ASN1_TIME_diff = f<(days: P, seconds: P, from: P, to: P) => N>(
  'int ASN1_TIME_diff(uintptr_t, uintptr_t, uintptr_t, uintptr_t)',
)
/** The key inside the certificate, not a reference. */
export const X509_get0_pubkey = f<(certificate: P) => P>('uintptr_t X509_get0_pubkey(uintptr_t)')
/** Frees what the key holds and makes it an empty one of this type. */
export const EVP_PKEY_set_type = f<(key: P, nid: N) => N>('int EVP_PKEY_set_type(uintptr_t, int)')
/** The peer's leaf and what it sent with it, as a client sees it; a server finds only what came with the leaf. */
export const SSL_get_peer_cert_chain = f<(ssl: P) => P>('uintptr_t SSL_get_peer_cert_chain(uintptr_t)')
export const SSL_get1_peer_certificate = f<(ssl: P) => P>('uintptr_t SSL_get1_peer_certificate(uintptr_t)')
export const SSL_is_server = f<(ssl: P) => N>('int SSL_is_server(uintptr_t)')
/** The certificate this side presents, not a reference. */
export const SSL_get_certificate = f<(ssl: P) => P>('uintptr_t SSL_get_certificate(uintptr_t)')
export const OPENSSL_sk_num = f<(stack: P) => N>('int OPENSSL_sk_num(uintptr_t)')
export const OPENSSL_sk_value = f<(stack: P, index: N) => P>('uintptr_t OPENSSL_sk_value(uintptr_t, int)')
const X509_free_ = f<(certificate: P) => void>('void X509_free(uintptr_t)')
const EVP_PKEY_free_ = f<(key: P) => void>('void EVP_PKEY_free(uintptr_t)')
const PEM_read_bio_X509_ = f<(bio: P, into: P, callback: P, argument: P) => P>(
  'uintptr_t PEM_read_bio_X509(uintptr_t, uintptr_t, uintptr_t, uintptr_t)',
)
const PEM_read_bio_PrivateKey_ = f<(bio: P, into: P, callback: P, argument: P) => P>(
  'uintptr_t PEM_read_bio_PrivateKey(uintptr_t, uintptr_t, uintptr_t, uintptr_t)',
)

const BIO_new_ = f<(method: P) => P>('uintptr_t BIO_new(uintptr_t)')
const BIO_new_mem_buf_ = f<(from: P, bytes: N) => P>('uintptr_t BIO_new_mem_buf(uintptr_t, int)')
const BIO_free_ = f<(bio: P) => N>('int BIO_free(uintptr_t)')
export const BIO_s_socket = f<() => P>('uintptr_t BIO_s_socket()')
export const BIO_f_buffer = f<() => P>('uintptr_t BIO_f_buffer()')
export const BIO_pop = f<(bio: P) => P>('uintptr_t BIO_pop(uintptr_t)')
export const BIO_up_ref = f<(bio: P) => N>('int BIO_up_ref(uintptr_t)')
export const BIO_push = f<(bio: P, next: P) => P>('uintptr_t BIO_push(uintptr_t, uintptr_t)')
export const BIO_ctrl = f<(bio: P, command: N, large: N, pointer: P) => N>(
  'int64_t BIO_ctrl(uintptr_t, int, int64_t, uintptr_t)',
)
export const BIO_int_ctrl = f<(bio: P, command: N, large: N, integer: N) => N>(
  'int64_t BIO_int_ctrl(uintptr_t, int, int64_t, int)',
)

export const ERR_clear_error = f<() => void>('void ERR_clear_error()')
export const ERR_get_error = f<() => N>('uint64_t ERR_get_error()')
export const ERR_reason_error_string = f<(code: N) => string | null>(
  'const char* ERR_reason_error_string(uint64_t)',
)

/** Numbers of the C headers, by their name there. */
export const SSL_ERROR_SSL = 1
export const SSL_ERROR_WANT_READ = 2
export const SSL_ERROR_WANT_WRITE = 3
export const SSL_ERROR_SYSCALL = 5
export const SSL_ERROR_ZERO_RETURN = 6
export const SSL_CTRL_MODE = 33
export const SSL_CTRL_SET_READ_AHEAD = 41
export const SSL_CTRL_SET_SESS_CACHE_MODE = 44
export const SSL_CTRL_CHAIN_CERT = 89
export const SSL_CTRL_SET_GROUPS_LIST = 92
export const SSL_CTRL_GET_PEER_TMP_KEY = 109
export const SSL_CTRL_GET_TMP_KEY = 133
export const SSL_CTRL_SET_MIN_PROTO_VERSION = 123
export const SSL_CTRL_SET_MAX_PROTO_VERSION = 124
export const TLS1_3_VERSION = 0x0304
export const SSL_MODE_ENABLE_PARTIAL_WRITE = 0x1
export const SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 0x2
export const SSL_MODE_RELEASE_BUFFERS = 0x10
export const SSL_OP_NO_TICKET = 0x4000
export const SSL_OP_NO_COMPRESSION = 0x20000
/** ERR_PACK of library SSL (20) and SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE (openssl/sslerr.h). */
const NO_PEER_CERTIFICATE = (20 << 23) | 199
export const SSL_VERIFY_PEER_ALWAYS = 3
export const BIO_CTRL_RESET = 1
export const BIO_CTRL_FLUSH = 11
export const BIO_CTRL_WPENDING = 13
export const BIO_C_SET_FD = 104
export const BIO_C_SET_BUFF_SIZE = 117
export const NID_subject_alt_name = 85
export const NID_X25519 = 1034

function counted(kind: number, pointer: P): P {
  if (pointer === 0)
    throw new MeshError('INTERNAL', { detail: `${HANDLE_KINDS[kind]}: ${takeOpensslError()}` })
  countCreated(kind)
  return pointer
}
export function newSslContext(): P {
  return counted(SSL_CTX, SSL_CTX_new_(TLS_method()))
}
export function freeSslContext(context: P): void {
  countFreed(SSL_CTX)
  SSL_CTX_free_(context)
}
export function newSsl(context: P): P {
  return counted(SSL, SSL_new_(context))
}
/** Frees the SSL and the references it holds on its BIOs; a BIO that only the SSL held is reported by forgetBio. */
export function freeSsl(ssl: P): void {
  countFreed(SSL)
  SSL_free_(ssl)
}
export function freeCertificate(certificate: P): void {
  countFreed(X509)
  X509_free_(certificate)
}
export function freeKey(key: P): void {
  countFreed(EVP_PKEY)
  EVP_PKEY_free_(key)
}
/** Frees one reference of a certificate or key that the library handed out, not created here. */
export const dropCertificate = X509_free_
export const dropKey = EVP_PKEY_free_

/** Owned by whoever calls, until it is freed or its only reference is handed to an SSL or a chain. */
export function newBio(method: P): P {
  return counted(BIO, BIO_new_(method))
}
/** Gives up a BIO whose last reference goes with its SSL: counts, frees nothing. */
export function forgetBio(): void {
  countFreed(BIO)
}
/** Frees a BIO that nobody else references. */
export function freeBio(bio: P): void {
  countFreed(BIO)
  BIO_free_(bio)
}

function withPem<T>(pem: Buffer, address: P, action: (bio: P) => T): T {
  const bio = counted(BIO, BIO_new_mem_buf_(address, pem.length))
  try {
    return action(bio)
  } finally {
    freeBio(bio)
  }
}
/** Reads the first certificate of a PEM text. `address` is that of `pem`. @throws CERT_INVALID */
export function readCertificate(pem: Buffer, address: P): P {
  ERR_clear_error()
  const certificate = withPem(pem, address, (bio) => PEM_read_bio_X509_(bio, 0, 0, 0))
  if (certificate === 0) throw new MeshError('CERT_INVALID', { detail: `not PEM: ${takeOpensslError()}` })
  return counted(X509, certificate)
}
/** Reads an unencrypted private key. @throws CERT_INVALID */
export function readPrivateKey(pem: Buffer, address: P): P {
  ERR_clear_error()
  const key = withPem(pem, address, (bio) => PEM_read_bio_PrivateKey_(bio, 0, 0, 0))
  if (key === 0) throw new MeshError('CERT_INVALID', { detail: `no private key: ${takeOpensslError()}` })
  return counted(EVP_PKEY, key)
}

/** Text and reason number of the newest cause in this thread's error queue, which is emptied. */
export function takeOpensslError(): string {
  return takeOpensslFailure().text
}

/** First entry of the error queue. */
export interface OpensslFailure {
  readonly text: string
  /** The TLS alert the peer sent, or -1. */
  readonly alert: number
  /** The peer was asked for a certificate and sent none. */
  readonly isCertificateMissing: boolean
}

/** Takes the first entry of the error queue and empties it. */
export function takeOpensslFailure(): OpensslFailure {
  const code = Number(ERR_get_error())
  if (code === 0) return { text: 'no detail', alert: -1, isCertificateMissing: false }
  ERR_clear_error()
  // Reasons of received alerts are 1000 + alert number (openssl/sslerr.h).
  const reason = code & 0x7fffff
  const alert = reason >= 1000 && reason < 1256 ? reason - 1000 : -1
  return {
    text: ERR_reason_error_string(code) ?? `error 0x${code.toString(16)}`,
    alert,
    isCertificateMissing: code === NO_PEER_CERTIFICATE,
  }
}
