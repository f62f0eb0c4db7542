// SPDX-License-Identifier: Apache-2.0
import koffi from 'koffi'
import t from 'tap'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { addressOf, bindFunction, openLibrary, type Pointer } from '../../../mesh/reactor/ffi/native.ts'
import * as o from '../../../mesh/reactor/ffi/openssl.ts'
import { NONE_REVOKED } from '../../../mesh/reactor/presented-certificate.ts'
import {
  type HandshakeInProgress,
  TlsContext,
  TlsCredentials,
  withHandshake,
} from '../../../mesh/reactor/tls-context.ts'
import { forgetHandshakeKeys, handshakeFailure, peerFacts } from '../../../mesh/reactor/tls-handshake.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { createUnixDescriptors } from '../../support/reactor-pairs.ts'

const authority = await TestAuthority.create()
const signed = await authority.sign({
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount: 'cart',
})
const context = new TlsContext([authority.rootPem])
const credentials = new TlsCredentials([signed.certificatePem], signed.privateKeyPem)
t.teardown(() => {
  credentials.release()
  context.free()
})

const self = openLibrary(null)
const SSL_key_update = bindFunction<(ssl: Pointer, type: number) => number>(
  self,
  'int SSL_key_update(uintptr_t, int)',
)
const EVP_PKEY_get_base_id = bindFunction<(key: Pointer) => number>(
  self,
  'int EVP_PKEY_get_base_id(uintptr_t)',
)
const unused = Object.fromEntries(
  ['arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks'].map((name) => [name, 'size_t']),
)
const mallinfo2 = koffi
  .load(null)
  .func(
    'mallinfo2',
    koffi.struct({ ...unused, uordblks: 'size_t', fordblks: 'size_t', keepcost: 'size_t' }),
    [],
  )
const UPDATE_REQUESTED = 1
const NID_X9_62_id_ecPublicKey = 408

interface Side {
  readonly ssl: Pointer
  readonly handshake: HandshakeInProgress
}

/** Client and server of one finished handshake, both driven from here. */
function shakeHands(): { readonly client: Side; readonly server: Side; readonly free: () => void } {
  const fds = createUnixDescriptors()
  const sides = fds.map((fd, index): Side => {
    const ssl = o.newSsl(context.pointer)
    const bio = o.newBio(o.BIO_s_socket())
    o.BIO_int_ctrl(bio, o.BIO_C_SET_FD, 0, fd)
    o.BIO_up_ref(bio)
    o.SSL_set0_rbio(ssl, bio)
    o.SSL_set0_wbio(ssl, bio)
    o.SSL_use_certificate(ssl, credentials.certificate)
    o.SSL_use_PrivateKey(ssl, credentials.key)
    if (index === 0) o.SSL_set_connect_state(ssl)
    else o.SSL_set_accept_state(ssl)
    return {
      ssl,
      handshake: {
        peerCheck: () => null,
        revoked: NONE_REVOKED,
        grace: null,
        refusal: null,
        uris: [],
        fingerprint: null,
        isInGrace: false,
      },
    }
  })
  for (let round = 0; round < 4; round++)
    for (const { ssl, handshake } of sides) withHandshake(handshake, () => o.SSL_do_handshake(ssl))
  const [client, server] = sides as [Side, Side] // as: one for each end of the pair
  return {
    client,
    server,
    free() {
      for (const { ssl } of sides) {
        o.freeSsl(ssl)
        o.forgetBio()
      }
      for (const fd of fds) close(fd)
    },
  }
}

/** Sends a text and returns what arrives. */
function pass(from: Side, to: Side, text: string): string {
  const out = Buffer.from(text)
  const into = Buffer.alloc(64)
  o.SSL_write(from.ssl, addressOf(out), out.length)
  return into.toString('latin1', 0, Math.max(0, o.SSL_read(to.ssl, addressOf(into), into.length)))
}

/** The type of the peer's certified key. */
function peerKeyType(ssl: Pointer): number {
  const leaf = o.SSL_get1_peer_certificate(ssl)
  const type = EVP_PKEY_get_base_id(o.X509_get0_pubkey(leaf))
  o.dropCertificate(leaf)
  return type
}

t.test('the facts of a handshake are those of the peer', async (t) => {
  const { client, server, free } = shakeHands()
  t.teardown(free)
  const facts = { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', group: 'X25519MLKEM768' }
  t.same(peerFacts(client.ssl, client.handshake.uris), {
    ...facts,
    uris: ['spiffe://cluster.local/ns/shop/sa/cart'],
  })
  t.match(peerFacts(server.ssl, server.handshake.uris), facts)
})

t.test('after its keys are forgotten a connection carries data and renews its traffic keys', async (t) => {
  const { client, server, free } = shakeHands()
  t.teardown(free)
  for (const { ssl } of [client, server]) {
    t.equal(peerKeyType(ssl), NID_X9_62_id_ecPublicKey)
    forgetHandshakeKeys(ssl)
    t.equal(peerKeyType(ssl), o.NID_X25519, 'an empty one')
    forgetHandshakeKeys(ssl) // a second time: nothing happens
  }
  o.ERR_clear_error()
  t.equal(pass(client, server, 'there'), 'there')
  t.equal(pass(server, client, 'back'), 'back')
  for (const { ssl } of [client, server]) t.equal(SSL_key_update(ssl, UPDATE_REQUESTED), 1)
  t.equal(pass(client, server, 'again'), 'again')
  t.equal(pass(server, client, 'and back'), 'and back')
  t.equal(pass(client, server, 'for long'), 'for long')
})

t.test('it gives back the memory of the keys', async (t) => {
  const inUse = (): number => Number(mallinfo2().uordblks)
  const pairs = Array.from({ length: 20 }, shakeHands)
  t.teardown(() => {
    for (const { free } of pairs) free()
  })
  const before = inUse()
  for (const { client, server } of pairs) for (const { ssl } of [client, server]) forgetHandshakeKeys(ssl)
  const freedPerSide = (before - inUse()) / (2 * pairs.length)
  t.ok(freedPerSide > 8_000, `${freedPerSide} bytes`)
})

t.test('a failed step is named by its cause', async (t) => {
  const handshake: HandshakeInProgress = {
    peerCheck: () => null,
    revoked: NONE_REVOKED,
    refusal: null,
    ...{ grace: null, fingerprint: null, isInGrace: false },
    uris: [],
  }
  t.match(handshakeFailure(handshake, o.SSL_ERROR_SSL), { code: 'TLS_HANDSHAKE', detail: 'no detail' })
  t.match(
    handshakeFailure({ ...handshake, refusal: { code: 'CERT_EXPIRED', detail: 'yesterday' } as never }, 1),
    { code: 'CERT_EXPIRED', detail: 'yesterday' },
  )
  t.match(handshakeFailure(handshake, o.SSL_ERROR_SYSCALL), { code: 'TLS_HANDSHAKE' })
})
