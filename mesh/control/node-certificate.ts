// SPDX-License-Identifier: Apache-2.0
// A node outside Kubernetes: joins with a token that works once, keeps the certificate it got for it in a file that only
// it can read, and renews it with itself. A restart needs no new token.
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../errors/errno.ts'
import type { CallCredentials } from '../grpc/any-server.ts'
import type { CertificateIssuer } from '../identity/ca-client.ts'
import type { WorkloadCertificate } from '../identity/certificate.ts'
import { halfLifeMs } from '../identity/certificate-alarm.ts'
import type { BegunRequest, CertificateRequests } from '../identity/certificate-requests.ts'
import { nodeIdentity } from '../identity/node-identity.ts'
import { type CertificateStatus, SecretManager } from '../identity/secret-manager.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { JoinRequest } from './join-request.ts'

const FILE = 'node-certificate.json'

export interface NodeCertificateOptions {
  /** Holds the file; made if it is missing. */
  readonly directory: string
  readonly nodeName: string
  readonly trustDomain: string
  /** Asks with the credentials that are given here. */
  readonly issuerWith: (credentials: () => Promise<CallCredentials>) => CertificateIssuer
  /** Roots of the controller's own certificate; undefined means those of the system. */
  readonly rootsPem: () => Promise<string | undefined>
  /** The join token, read when there is no certificate. */
  readonly joinToken: () => Promise<string>
  readonly requests: CertificateRequests
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
}

/** none → joined (renews itself) → expired, when no renewal succeeded in time. */
export class NodeCertificate {
  readonly #options: NodeCertificateOptions
  readonly #identity: string
  readonly #secrets: SecretManager
  readonly #join: JoinRequest
  /** From the file of an earlier run. */
  #saved: WorkloadCertificate | null = null

  constructor(options: NodeCertificateOptions) {
    this.#options = options
    this.#identity = nodeIdentity(options.trustDomain, options.nodeName)
    const { requests, clock, random, log } = options
    const issuer = options.issuerWith(() => this.#ownCredentials())
    this.#join = new JoinRequest(requests, options.directory, log)
    const begin = (identity: string): Promise<BegunRequest> =>
      (this.#current === undefined ? this.#join : requests).begin(identity)
    const finish = requests.finish.bind(requests)
    this.#secrets = new SecretManager({ issuer, requests: { begin, finish }, clock, random })
    this.#secrets.subscribe((certificate) => {
      this.#save(certificate)
        .then(() => this.#join.forget())
        .catch((err: unknown) => log.error({ err }, 'node certificate not saved'))
    })
  }

  /** True when an earlier run left a certificate. */
  static async isSavedIn(directory: string): Promise<boolean> {
    return stat(join(directory, FILE)).then(
      () => true,
      () => false,
    )
  }

  /** Reads what an earlier run left and begins to keep it fresh. */
  async start(): Promise<void> {
    this.#saved = await this.#load()
    this.#secrets.get(this.#identity).catch((err: unknown) => {
      const { log } = this.#options
      if (this.#current === undefined) log.error({ err }, 'the node has not joined; it tries again')
      else log.warn({ err }, 'node certificate not renewed; it tries again')
    })
  }

  /** How the controller is called. @throws CERT_UNAVAILABLE before the node has joined */
  async credentials(): Promise<CallCredentials> {
    const certificate = this.#current ?? (await this.#secrets.get(this.#identity))
    return { connection: await this.#connectionOf(certificate), headers: {} }
  }

  /** How it stands with the certificate in use; null before the first attempt. */
  status(): CertificateStatus | null {
    const [status] = this.#secrets.list()
    const saved = this.#saved
    if (status === undefined || status.certificate !== null || saved === null) return status ?? null
    const state = this.#current === undefined ? status.state : 'Available'
    return { ...status, state, certificate: saved, renewalDueMs: halfLifeMs(saved) }
  }

  close(): void {
    this.#secrets.close()
  }

  get #current(): WorkloadCertificate | undefined {
    const fresh = this.#secrets.current(this.#identity)
    if (fresh !== undefined) return fresh
    const saved = this.#saved
    return saved !== null && this.#options.clock.nowMs < saved.notAfterMs ? saved : undefined
  }

  /** What the node's own certificate is asked for with: the one it has, else the token. */
  async #ownCredentials(): Promise<CallCredentials> {
    const certificate = this.#current
    if (certificate !== undefined) return { connection: await this.#connectionOf(certificate), headers: {} }
    const { joinToken } = this.#options
    return {
      connection: await this.#roots(),
      headers: { authorization: `Bearer ${await joinToken()}` },
    }
  }

  async #connectionOf({
    chainPem,
    privateKeyPem,
  }: WorkloadCertificate): Promise<CallCredentials['connection']> {
    return {
      ...(await this.#roots()),
      identity: { certificatePem: chainPem.join(''), privateKeyPem },
    }
  }

  async #roots(): Promise<{ readonly rootsPem?: string }> {
    const rootsPem = await this.#options.rootsPem()
    return rootsPem === undefined ? {} : { rootsPem }
  }

  async #save(certificate: WorkloadCertificate): Promise<void> {
    const { directory } = this.#options
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const path = join(directory, FILE)
    await writeFile(`${path}.new`, JSON.stringify(certificate), { mode: 0o600, flush: true })
    await rename(`${path}.new`, path)
  }

  /** Null: none, or none that fits. */
  async #load(): Promise<WorkloadCertificate | null> {
    const { directory, log } = this.#options
    try {
      const text = await readFile(join(directory, FILE), 'utf8')
      const read = JSON.parse(text) as Partial<WorkloadCertificate> // as: looked at below
      const { identity, chainPem, rootsPem, privateKeyPem, notBeforeMs, notAfterMs } = read
      const isWhole =
        identity === this.#identity &&
        Array.isArray(chainPem) &&
        typeof privateKeyPem === 'string' &&
        Array.isArray(rootsPem) &&
        typeof notBeforeMs === 'number' &&
        typeof notAfterMs === 'number'
      if (isWhole) return read as WorkloadCertificate // as: what it is used for was looked at
      log.warn({ identity }, 'the saved node certificate is another node’s')
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) log.warn({ err }, 'the saved node certificate is unreadable')
    }
    return null
  }
}
