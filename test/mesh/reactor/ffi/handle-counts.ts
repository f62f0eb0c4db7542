// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  countCreated,
  countFreed,
  createHandleMemory,
  openHandles,
  readHandleCounts,
  SSL,
  shareHandleCounts,
} from '../../../../mesh/reactor/ffi/handle-counts.ts'
import { close, open } from '../../../../mesh/reactor/ffi/libc.ts'
import { freeSsl, newSsl } from '../../../../mesh/reactor/ffi/openssl.ts'
import { Reactor } from '../../../../mesh/reactor/reactor.ts'
import { TlsContext, TlsCredentials } from '../../../../mesh/reactor/tls-context.ts'
import type { PrintedCertificates } from '../../../fixtures/print-certificates.ts'
import { NativeCensus } from '../../../support/native-census.ts'
import { handshake, runUntil } from '../../../support/reactor-pairs.ts'

const script = join(import.meta.dirname, '../../../fixtures/print-certificates.ts')
const printed = execFileSync(process.execPath, [script], { encoding: 'utf8' })
const certificates = JSON.parse(printed) as PrintedCertificates // as: what the script prints
const rootsPem = [certificates.rootPem]
const good = { ...certificates.good, rootsPem }
const expired = { ...certificates.expired, rootsPem }
const descriptors = (): number => readdirSync('/proc/self/fd').length

/** Our counts, OpenSSL's own and the kernel's, all at once: what is alive now. */
const census = new NativeCensus()
t.teardown(() => census.stop())
const alive = (): unknown => ({ counted: openHandles(), native: census.alive, descriptors: descriptors() })

/** Handshakes that succeed, fail and are cut, until everything is closed. */
function useTls(): void {
  const reactor = new Reactor()
  for (const clientEnd of [good, good, expired]) {
    const { client, server } = handshake(reactor, clientEnd, good)
    if (clientEnd === good) client.socket?.end()
    else client.socket?.destroy({ code: 'SHUTDOWN', detail: '' })
    server.socket?.end()
    runUntil(reactor, () => client.failure !== null && server.failure !== null)
  }
  reactor.destroy()
}

t.test('what is created is freed: by our counts, by OpenSSL and in /proc/self/fd', async (t) => {
  useTls() // what OpenSSL keeps for good is made here
  const before = alive()
  const counts = readHandleCounts()
  useTls()
  t.same(alive(), before)
  const after = readHandleCounts()
  for (const kind of ['SSL_CTX', 'SSL', 'X509', 'EVP_PKEY', 'BIO', 'descriptor'] as const) {
    t.ok(after[kind].created > counts[kind].created, `${kind} was used at all`)
  }
})

t.test('a leak of each kind is seen', async (t) => {
  const before = openHandles()
  const nativeBefore = census.alive
  const context = new TlsContext(rootsPem)
  const ssl = newSsl(context.pointer)
  const credentials = new TlsCredentials([good.certificatePem], good.privateKeyPem)
  const reactor = new Reactor()
  const fd = open('/dev/null', 0)
  reactor.descriptors.add(fd)
  reactor.descriptors.add(fd)
  const during = openHandles()
  t.same([during.SSL_CTX - before.SSL_CTX, during.SSL - before.SSL, during.X509 - before.X509], [1, 1, 1])
  t.equal(during.EVP_PKEY - before.EVP_PKEY, 1)
  t.equal(during.descriptor - before.descriptor, 2, 'the loop and the planted one')
  t.ok(census.alive.SSL > nativeBefore.SSL && census.alive.SSL_CTX > nativeBefore.SSL_CTX)
  freeSsl(ssl)
  context.free()
  credentials.release()
  reactor.descriptors.remove(fd)
  close(fd)
  reactor.destroy()
  t.same(openHandles(), before)
  t.same(census.alive, nativeBefore)
})

t.test('credentials that cannot be read leave nothing behind', async (t) => {
  const before = alive()
  const garbage = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
  for (const [chain, key] of [
    [[good.certificatePem, garbage], good.privateKeyPem],
    [[good.certificatePem, good.certificatePem], 'no key'],
    [[garbage], good.privateKeyPem],
    [[], good.privateKeyPem],
  ] as const) {
    t.throws(() => new TlsCredentials(chain, key), { code: 'CERT_INVALID' })
  }
  t.throws(() => new TlsContext([...rootsPem, garbage]), { code: 'CERT_INVALID' })
  t.same(alive(), before)
})

t.test('counts go on in the memory that is shared, and are read from there', async (t) => {
  const before = readHandleCounts()
  const memory = createHandleMemory()
  shareHandleCounts(memory)
  t.same(readHandleCounts(memory), before)
  countCreated(SSL)
  countCreated(SSL)
  countFreed(SSL)
  t.equal(openHandles(memory).SSL, before.SSL.created - before.SSL.freed + 1)
  t.same(readHandleCounts(), readHandleCounts(memory))
  countFreed(SSL)
})
