// SPDX-License-Identifier: Apache-2.0
// Certificates of servers that are dialled as `localhost` or 127.0.0.1, under a root of their own.
import {
  createRootCertificate,
  exportPrivateKey,
  generateKeyPair,
  publicKeyInfoOf,
  signCertificate,
} from '../../mesh/identity/pki.ts'

const HOUR_MS = 3_600_000

/** What a TLS server is started with. */
export interface ServerCertificate {
  readonly rootPem: string
  readonly certificatePem: string
  readonly privateKeyPem: string
}

/** A fresh root and a leaf, valid now and for an hour. */
export async function serverCertificate(): Promise<ServerCertificate> {
  const nowMs = Date.now()
  const [root, leaf] = [await generateKeyPair(), await generateKeyPair()]
  const rootPem = await createRootCertificate(root, 'test server root', nowMs - HOUR_MS, nowMs + HOUR_MS)
  const certificatePem = await signCertificate(
    { certificatePem: rootPem, privateKey: root.privateKey },
    {
      publicKeyInfo: await publicKeyInfoOf(leaf),
      uris: [],
      dnsNames: ['localhost'],
      addresses: [Uint8Array.of(127, 0, 0, 1)],
      notBeforeMs: nowMs - HOUR_MS,
      notAfterMs: nowMs + HOUR_MS,
    },
  )
  return { rootPem, certificatePem, privateKeyPem: await exportPrivateKey(leaf.privateKey) }
}
