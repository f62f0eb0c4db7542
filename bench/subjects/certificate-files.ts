// SPDX-License-Identifier: Apache-2.0
// A CA for one run, and certificates of it as files for proxies that read files.
import { writeFile } from 'node:fs/promises'
import {
  createRootCertificate,
  exportPrivateKey,
  generateKeyPair,
  publicKeyInfoOf,
  type Signer,
  signCertificate,
} from '../../mesh/identity/pki.ts'
import type { EnvoyFiles } from './envoy-config.ts'

const HOUR_MS = 3_600_000
/** As the root's; Envoy's BoringSSL is stricter about names than OpenSSL. */
const ORGANIZATION = 'cluster.local'

/** A root for one run, its certificate in `rootFile`; the key stays in memory. */
export async function createAuthority(rootFile: string): Promise<Signer> {
  const pair = await generateKeyPair()
  const nowMs = Date.now()
  const certificatePem = await createRootCertificate(
    pair,
    ORGANIZATION,
    nowMs - HOUR_MS,
    nowMs + 24 * HOUR_MS,
  )
  await writeFile(rootFile, certificatePem)
  return { certificatePem, privateKey: pair.privateKey }
}

/** Signs a certificate for the service account `name` and writes it and its key. */
export async function writeCertificate(
  authority: Signer,
  name: string,
  files: EnvoyFiles,
): Promise<EnvoyFiles> {
  const pair = await generateKeyPair()
  const nowMs = Date.now()
  const certificate = await signCertificate(authority, {
    publicKeyInfo: await publicKeyInfoOf(pair),
    organization: ORGANIZATION,
    uris: [`spiffe://cluster.local/ns/shop/sa/${name}`],
    notBeforeMs: nowMs - HOUR_MS,
    notAfterMs: nowMs + 24 * HOUR_MS,
  })
  await writeFile(files.certificate, certificate)
  await writeFile(files.key, await exportPrivateKey(pair.privateKey), { mode: 0o600 })
  return files
}
