// SPDX-License-Identifier: Apache-2.0
// What an idle tunnel costs: after its last byte it holds neither OpenSSL's buffers nor a staging buffer.
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { TlsContext, TlsCredentials } from '../../mesh/reactor/tls-context.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import { trimMemory } from '../../mesh/reactor/trim-memory.ts'
import { TestAuthority } from '../support/certificates.ts'
import { connectDescriptors, ignoringHandler, runUntil, settle } from '../support/reactor-pairs.ts'

setFlagsFromString('--expose-gc')
globalThis.gc = runInNewContext('gc') as NonNullable<typeof globalThis.gc> // as: the flag defines it
const PAIRS = 120
/** Per end of a tunnel: SSL with its certificates, JavaScript objects, and the share of both in the heaps' growth. */
const MAX_BYTES_PER_TUNNEL = 40_960

function residentBytes(): number {
  trimMemory()
  const status = readFileSync('/proc/self/status', 'latin1')
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) * 1024
}

t.test('an idle tunnel costs 40 KB at most', async (t) => {
  const authority = await TestAuthority.create()
  const identity = { trustDomain: 'cluster.local', namespace: 'test', serviceAccount: 'idle' }
  const { certificatePem, privateKeyPem } = await authority.sign(identity)
  const reactor = new Reactor()
  const context = new TlsContext([authority.rootPem])
  const credentials = new TlsCredentials([certificatePem], privateKeyPem)
  const block = allocateBlock(100_016)
  const open: TlsSocket[] = []
  let received = 0
  const start = (fd: number, role: 'client' | 'server'): void => {
    new TlsSocket(reactor, fd, {
      role,
      context,
      credentials,
      peerCheck: () => null,
      handshakeTimeoutMs: 5000,
      handler: {
        onSecure(socket) {
          open.push(socket)
          socket.setHandler({
            ...ignoringHandler,
            onData: (_block, from, to) => {
              received += to - from
            },
          })
        },
        onHandshakeFailed: (reason) => t.fail(reason.detail),
      },
    })
  }
  /** Tunnels that have carried bulk data both ways. */
  const openPairs = (count: number): void => {
    const before = open.length
    for (let i = 0; i < count; i++) {
      const [client, server] = connectDescriptors(reactor)
      start(client, 'client')
      start(server, 'server')
    }
    runUntil(reactor, () => open.length === before + 2 * count)
    const expected = received + 2 * count * 100_000
    for (const socket of open.slice(before)) socket.write(block, 16, 100_016)
    runUntil(reactor, () => received === expected)
    t.equal(received, expected)
  }
  openPairs(20) // code, pools and what OpenSSL keeps for good
  const before = residentBytes()
  openPairs(PAIRS)
  const perTunnel = (residentBytes() - before) / (2 * PAIRS)
  t.ok(perTunnel <= MAX_BYTES_PER_TUNNEL, `${Math.round(perTunnel / 1024)} KB each`)
  t.comment(`${(perTunnel / 1024).toFixed(1)} KB per end of an idle tunnel`)
  t.equal(reactor.pool.takenBlocks, 0)
  for (const socket of open) socket.destroy({ code: 'OK', detail: '' })
  settle(reactor, () => false)
  context.free()
  credentials.release()
  reactor.destroy()
})
