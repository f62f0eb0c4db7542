// SPDX-License-Identifier: Apache-2.0
// A CA in this process: one root in one file of a directory. Processes that share the directory share the root;
// whoever comes first makes it. The key never leaves the file and this object. Shape of leaves: SPEC HBONE §2.
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../errors/errno.ts'
import { MeshError } from '../errors/mesh-error.ts'
import { isRefusal } from '../errors/refusal.ts'
import type { Clock } from '../runtime/clock.ts'
import type { CertificateIssuer } from './ca-client.ts'
import { BACKDATE_MS, DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS, ROOT_LIFETIME_MS } from './lifetimes.ts'
import {
  type CertificateFacts,
  createRootCertificate,
  exportPrivateKey,
  generateKeyPair,
  importPrivateKey,
  isSignedBy,
  parseCertificate,
  parseCertificateRequest,
  type Signer,
  signCertificate,
} from './pki.ts'
import { parseSpiffeId } from './spiffe.ts'

const ROOT_FILE = 'root.pem' // key and certificate in one file, so that they can never be of two minds

/** What an EmbeddedAuthority is made of. */
export interface EmbeddedAuthorityOptions {
  readonly directory: string
  readonly trustDomain: string
  readonly clock: Clock
}

/** A CA that signs only identities of its own trust domain. */
export class EmbeddedAuthority implements CertificateIssuer {
  readonly #signer: Signer
  readonly #root: CertificateFacts
  readonly #options: EmbeddedAuthorityOptions

  private constructor(options: EmbeddedAuthorityOptions, signer: Signer, root: CertificateFacts) {
    this.#options = options
    this.#signer = signer
    this.#root = root
  }

  /**
   * Loads the root of the directory, or makes it.
   * @throws CERT_INVALID when the file is damaged, readable by others or not of a CA, CERT_EXPIRED when it ended.
   */
  static async open(options: EmbeddedAuthorityOptions): Promise<EmbeddedAuthority> {
    const path = join(options.directory, ROOT_FILE)
    const text = (await readRoot(path)) ?? (await createRoot(options, path))
    const root = parseCertificate(text)
    if (isRefusal(root) || !root.isCa) {
      throw new MeshError('CERT_INVALID', { detail: `${path} holds no CA certificate` })
    }
    if (options.clock.nowMs >= root.notAfterMs) {
      throw new MeshError('CERT_EXPIRED', { detail: `the root in ${path} has expired` })
    }
    if (!(await isSignedBy(root.pem, root.pem))) {
      throw new MeshError('CERT_INVALID', { detail: `${path} is not self-signed` })
    }
    const privateKey = await importPrivateKey(text)
    return new EmbeddedAuthority(options, { certificatePem: root.pem, privateKey }, root)
  }

  /** The root certificate, for others to trust. */
  get rootPem(): string {
    return this.#root.pem
  }

  /** Signs. What the request asks for beyond its key is ignored: the identity decides. */
  async issue(identity: string, csrPem: string, ttlSeconds: number): Promise<readonly string[]> {
    const id = parseSpiffeId(identity)
    if (isRefusal(id)) throw new MeshError(id.code, { detail: `${id.detail}: ${identity}` })
    if (id.trustDomain !== this.#options.trustDomain) {
      throw new MeshError('TRUST_DOMAIN', { detail: `this CA serves ${this.#options.trustDomain} only` })
    }
    const request = await parseCertificateRequest(csrPem)
    if (isRefusal(request)) throw new MeshError(request.code, { detail: request.detail })
    const nowMs = this.#options.clock.nowMs
    const leaf = await signCertificate(this.#signer, {
      publicKeyInfo: request.publicKeyInfo,
      uris: [identity],
      notBeforeMs: nowMs - BACKDATE_MS,
      notAfterMs: Math.min(nowMs + clampTtl(ttlSeconds) * 1000, this.#root.notAfterMs),
    })
    return [leaf, this.#root.pem]
  }
}

function clampTtl(ttlSeconds: number): number {
  // SPEC HBONE §2: a lifetime of zero or less means the default.
  if (!(ttlSeconds > 0)) return DEFAULT_TTL_SECONDS
  return Math.min(Math.ceil(ttlSeconds), MAX_TTL_SECONDS)
}

async function readRoot(path: string): Promise<string | undefined> {
  try {
    const { mode } = await stat(path)
    if ((mode & 0o077) !== 0) {
      throw new MeshError('CERT_INVALID', { detail: `${path} is readable by others: chmod 600` })
    }
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw error
  }
}

async function createRoot(options: EmbeddedAuthorityOptions, path: string): Promise<string> {
  const pair = await generateKeyPair()
  const nowMs = options.clock.nowMs
  const certificatePem = await createRootCertificate(
    pair,
    options.trustDomain,
    nowMs - BACKDATE_MS,
    nowMs + ROOT_LIFETIME_MS,
  )
  const text = `${certificatePem}${await exportPrivateKey(pair.privateKey)}`
  await mkdir(options.directory, { recursive: true, mode: 0o700 })
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString('hex')}`
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    // link() never replaces: of two processes that get here, one wins and both go on with the winner's root.
    await link(temporary, path)
    return text
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
    const winner = await readRoot(path)
    if (winner === undefined) throw error
    return winner
  } finally {
    await unlink(temporary)
  }
}
