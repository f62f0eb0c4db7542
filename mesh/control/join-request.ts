// SPDX-License-Identifier: Apache-2.0
// The request that a node joins with. A join token works for one key: the key is kept, in memory and in a file, until the
// node has its certificate, so that an answer which was lost, or a restart in between, costs no new token.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../errors/errno.ts'
import type { BegunRequest, CertificateRequests } from '../identity/certificate-requests.ts'
import type { Log } from '../runtime/log.ts'

const FILE = 'join-request.json'

/** Begins the same request again and again until it is forgotten. */
export class JoinRequest {
  readonly #requests: CertificateRequests
  readonly #directory: string
  readonly #log: Log
  #begun: BegunRequest | null = null

  constructor(requests: CertificateRequests, directory: string, log: Log) {
    this.#requests = requests
    this.#directory = directory
    this.#log = log
  }

  async begin(identity: string): Promise<BegunRequest> {
    const known = this.#begun ?? (await this.#load())
    if (known?.owner.identity === identity) {
      this.#begun = known
      return known
    }
    this.#begun = await this.#requests.begin(identity)
    await this.#save(this.#begun).catch((err: unknown) => {
      this.#log.warn(
        { err },
        'the key of the join is not saved: a restart before the answer needs a new token',
      )
    })
    return this.#begun
  }

  /** The node has joined: the next request has a key of its own. */
  async forget(): Promise<void> {
    this.#begun = null
    await rm(join(this.#directory, FILE), { force: true })
  }

  async #save({ owner, csrPem }: BegunRequest): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const publicKeyInfo = Buffer.from(owner.publicKeyInfo).toString('base64')
    const text = JSON.stringify({ owner: { ...owner, publicKeyInfo }, csrPem })
    await writeFile(join(this.#directory, FILE), text, { mode: 0o600, flush: true })
  }

  /** Null: none that is whole. */
  async #load(): Promise<BegunRequest | null> {
    try {
      const text = await readFile(join(this.#directory, FILE), 'utf8')
      const { owner, csrPem } = JSON.parse(text) as Partial<Record<keyof BegunRequest, unknown>> // as: looked at below
      const { identity, privateKeyPem, publicKeyInfo } = Object(owner) as Record<string, unknown> // as: likewise
      if (
        typeof identity !== 'string' ||
        typeof privateKeyPem !== 'string' ||
        typeof publicKeyInfo !== 'string' ||
        typeof csrPem !== 'string'
      )
        return null
      const key = new Uint8Array(Buffer.from(publicKeyInfo, 'base64'))
      return { owner: { identity, privateKeyPem, publicKeyInfo: key }, csrPem }
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) this.#log.warn({ err }, 'the saved key of the join is unreadable')
      return null
    }
  }
}
