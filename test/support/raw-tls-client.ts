// SPDX-License-Identifier: Apache-2.0
// A TLS client driven by hand, without the reactor: reads only when told, and does what no client of ours does.
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock, bindFunction, hasSymbol, openLibrary } from '../../mesh/reactor/ffi/native.ts'
import * as o from '../../mesh/reactor/ffi/openssl.ts'
import { NONE_REVOKED } from '../../mesh/reactor/presented-certificate.ts'
import { type TlsContext, type TlsCredentials, withHandshake } from '../../mesh/reactor/tls-context.ts'

const own = openLibrary(null)
const library = hasSymbol(own, 'SSL_key_update') ? own : openLibrary('libssl.so.3')
const SSL_key_update = bindFunction<(ssl: number, kind: number) => number>(
  library,
  'int SSL_key_update(uintptr_t, int)',
)
const KEY_UPDATE_REQUESTED = 1
const READ_BYTES = 65_536

/** Owns the descriptor and its SSL. */
export class RawTlsClient {
  readonly #fd: number
  readonly #ssl: number
  readonly #block = allocateBlock(READ_BYTES)

  /** `credentials` null: presents no certificate. */
  constructor(fd: number, context: TlsContext, credentials: TlsCredentials | null) {
    this.#fd = fd
    this.#ssl = o.newSsl(context.pointer)
    const bio = o.newBio(o.BIO_s_socket())
    o.BIO_int_ctrl(bio, o.BIO_C_SET_FD, 0, fd)
    o.SSL_set0_rbio(this.#ssl, bio)
    o.BIO_up_ref(bio)
    o.SSL_set0_wbio(this.#ssl, bio)
    if (credentials !== null) {
      o.SSL_use_certificate(this.#ssl, credentials.certificate)
      o.SSL_use_PrivateKey(this.#ssl, credentials.key)
    }
    o.SSL_set_connect_state(this.#ssl)
  }

  /** One step; true when it is done. */
  handshake(): boolean {
    o.ERR_clear_error()
    const step = (): number => o.SSL_do_handshake(this.#ssl)
    const rules = { peerCheck: () => null, revoked: NONE_REVOKED, grace: null }
    const found = { refusal: null, uris: [], fingerprint: null, isInGrace: false }
    return withHandshake({ ...rules, ...found }, step) === 1
  }

  /** Changes our keys and asks the peer to change its own; false when the socket takes nothing now. */
  requestKeyUpdate(): boolean {
    if (SSL_key_update(this.#ssl, KEY_UPDATE_REQUESTED) !== 1) return false
    return this.handshake()
  }

  /** What has arrived, at most 64 KiB; empty when nothing has. */
  read(): Buffer {
    o.ERR_clear_error()
    const count = o.SSL_read(this.#ssl, this.#block.address, READ_BYTES)
    return this.#block.bytes.subarray(0, Math.max(0, count))
  }

  close(): void {
    o.freeSsl(this.#ssl)
    o.forgetBio()
    close(this.#fd)
  }
}
