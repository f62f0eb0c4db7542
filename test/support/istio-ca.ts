// SPDX-License-Identifier: Apache-2.0
// The CA service Istio's ztunnel asks (istio.v1.auth.IstioCertificateService), signed by the CA directory our own
// ztunnels share: so both trust each other. Grants whatever the request names: for tests only. Spec: HBONE §2.
import { writeFile } from 'node:fs/promises'
import { createSecureServer, type Http2SecureServer, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Crypto } from '@peculiar/webcrypto'
import * as asn1js from 'asn1js'
import * as pkijs from 'pkijs'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { EmbeddedAuthority } from '../../mesh/identity/embedded-authority.ts'
import {
  createRootCertificate,
  exportPrivateKey,
  generateKeyPair,
  type KeyPair,
  parseCertificateRequest,
  publicKeyInfoOf,
} from '../../mesh/identity/pki.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'

const METHOD = '/istio.v1.auth.IstioCertificateService/CreateCertificate'
const HOUR_MS = 3_600_000
const TTL_SECONDS = 3600
const DNS_NAME = 2 // SPEC RFC5280 §4.2.1.6: GeneralName ::= [2] dNSName
const GRPC_PREFIX_BYTES = 5
const LENGTH_DELIMITED = 2

/** A CA that listens inside a namespace. */
export interface IstioCa {
  readonly url: string
  /** The root of the CA's own TLS certificate: not the root of the mesh. */
  readonly rootFile: string
  /** The identities that were asked for. */
  readonly asked: readonly string[]
  close(): void
}

/** A certificate of `localhost`: ztunnel refuses one that is its own CA, or names no host. */
async function localhostCertificate(
  signer: KeyPair,
  rootPem: string,
): Promise<{ cert: string; key: string }> {
  const webcrypto = new Crypto()
  const engine = new pkijs.CryptoEngine({ name: 'test', crypto: webcrypto, subtle: webcrypto.subtle })
  const pair = await generateKeyPair()
  const certificate = new pkijs.Certificate()
  certificate.version = 2
  certificate.serialNumber = new asn1js.Integer({ value: 2 })
  certificate.issuer = pkijs.Certificate.fromBER(derOf(rootPem)).subject
  const value = new asn1js.Utf8String({ value: 'localhost' })
  certificate.subject.typesAndValues.push(new pkijs.AttributeTypeAndValue({ type: '2.5.4.3', value }))
  certificate.notBefore.value = new Date(Date.now() - HOUR_MS)
  certificate.notAfter.value = new Date(Date.now() + HOUR_MS)
  certificate.subjectPublicKeyInfo = pkijs.PublicKeyInfo.fromBER(Uint8Array.from(await publicKeyInfoOf(pair)))
  const names = new pkijs.GeneralNames({
    names: [new pkijs.GeneralName({ type: DNS_NAME, value: 'localhost' })],
  })
  const extnValue = names.toSchema().toBER()
  certificate.extensions = [new pkijs.Extension({ extnID: '2.5.29.17', critical: false, extnValue })]
  await certificate.sign(signer.privateKey, 'SHA-256', engine)
  const base64 = Buffer.from(certificate.toSchema(true).toBER()).toString('base64')
  const lines = base64.replace(/.{64}(?=.)/g, '$&\n')
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: await exportPrivateKey(pair.privateKey),
  }
}

function derOf(pem: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(pem.replace(/-----[^-]*-----/g, ''), 'base64'))
}

function readVarint(bytes: Buffer, at: number): [value: number, next: number] {
  let value = 0
  for (let shift = 0, next = at; ; shift += 7) {
    const byte = bytes.readUInt8(next++)
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) return [value, next]
  }
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(Math.floor(value / 128))]
}

/** Field 1 of a message: the request's CSR. @throws RangeError when the message is cut */
function firstString(message: Buffer): string {
  for (let at = 0; at < message.length; ) {
    const [tag, afterTag] = readVarint(message, at)
    const [value, next] = readVarint(message, afterTag)
    const isText = tag % 8 === LENGTH_DELIMITED
    if (tag >> 3 === 1 && isText) return message.toString('utf8', next, next + value)
    at = isText ? next + value : next
  }
  return ''
}

/** `repeated string cert_chain = 1`, framed for gRPC. */
function response(chain: readonly string[]): Buffer {
  const fields = chain.map((pem) => {
    const text = Buffer.from(pem)
    return Buffer.concat([Buffer.from([(1 << 3) | LENGTH_DELIMITED, ...varint(text.length)]), text])
  })
  const message = Buffer.concat(fields)
  const prefix = Buffer.alloc(GRPC_PREFIX_BYTES)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}

async function answer(
  stream: ServerHttp2Stream,
  authority: EmbeddedAuthority,
  asked: string[],
): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  const csr = firstString(Buffer.concat(chunks).subarray(GRPC_PREFIX_BYTES))
  const request = await parseCertificateRequest(csr)
  if (isRefusal(request)) throw new Error(request.detail)
  const [identity = ''] = request.uris
  const chain = await authority.issue(identity, csr, TTL_SECONDS)
  asked.push(identity)
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  stream.end(response(chain))
}

/** Serves on a port of `namespace`'s loopback. `directory` is the test's own. */
export async function startIstioCa(
  namespace: NetworkNamespace,
  caDirectory: string,
  directory: string,
): Promise<IstioCa> {
  const clock = systemClock
  const authority = await EmbeddedAuthority.open({
    directory: caDirectory,
    trustDomain: 'cluster.local',
    clock,
  })
  const signer = await generateKeyPair()
  const nowMs = Date.now()
  const rootPem = await createRootCertificate(signer, 'test CA server', nowMs - HOUR_MS, nowMs + HOUR_MS)
  const rootFile = join(directory, 'istio-ca-root.pem')
  await writeFile(rootFile, rootPem)
  const asked: string[] = []
  const server: Http2SecureServer = createSecureServer(await localhostCertificate(signer, rootPem))
  server.on('stream', (stream, headers) => {
    const refuse = (text: string): void => {
      if (stream.destroyed) return
      stream.respond({ ':status': 200, 'grpc-status': '3', 'grpc-message': text }, { endStream: true })
    }
    if (headers[':path'] !== METHOD) refuse('unknown method')
    else answer(stream, authority, asked).catch((error: Error) => refuse(error.message))
  })
  // Without a host name the socket is made within this call, hence within the namespace.
  namespace.run(() => server.listen(0))
  const { port } = server.address() as AddressInfo // as: it listens on an IP
  return { url: `https://localhost:${port}`, rootFile, asked, close: () => server.close() }
}
