// SPDX-License-Identifier: Apache-2.0
// A small HTTP server that behaves as Vault documents its PKI engine: POST /v1/<mount>/sign/<role>
// (developer.hashicorp.com/vault/api-docs/secret/pki, "Sign certificate").
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import {
  createRootCertificate,
  generateKeyPair,
  parseCertificate,
  parseCertificateRequest,
  publicKeyInfoOf,
  type Signer,
  signCertificate,
} from '../../mesh/identity/pki.ts'

const DAY_MS = 86_400_000

/** What of Vault's behaviour a test chooses. */
export interface VaultBehaviour {
  /** Put over what it would have answered. */
  readonly data?: Readonly<Record<string, unknown>>
  readonly status?: number
  readonly errors?: readonly string[]
  readonly rawBody?: string
  readonly location?: string
  readonly isSilent?: boolean
  /** Names in the leaf instead of those that were asked for. */
  readonly uris?: readonly string[]
  readonly isCa?: boolean
  readonly publicKeyInfo?: Uint8Array
  readonly signer?: Signer
}

/** What it was asked. */
export interface VaultRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: Record<string, unknown>
}

/** A Vault with a root and an intermediate below it. close() ends it. */
export class TestVault {
  readonly token = 'hvs.test-token'
  readonly requests: VaultRequest[] = []
  behaviour: VaultBehaviour = {}
  readonly rootPem: string
  readonly intermediatePem: string
  readonly #signer: Signer
  readonly #server = createServer((request, response) => void this.#answer(request, response))

  private constructor(rootPem: string, signer: Signer) {
    this.rootPem = rootPem
    this.intermediatePem = signer.certificatePem
    this.#signer = signer
  }

  static async start(nowMs: number): Promise<TestVault> {
    const [root, intermediate] = [await generateKeyPair(), await generateKeyPair()]
    const life = { notBeforeMs: nowMs - DAY_MS, notAfterMs: nowMs + 100 * DAY_MS }
    const rootPem = await createRootCertificate(root, 'vault root', life.notBeforeMs, life.notAfterMs)
    const certificatePem = await signCertificate(
      { certificatePem: rootPem, privateKey: root.privateKey },
      {
        publicKeyInfo: await publicKeyInfoOf(intermediate),
        uris: [],
        ...life,
        isCa: true,
        organization: 'vault intermediate',
      },
    )
    const vault = new TestVault(rootPem, { certificatePem, privateKey: intermediate.privateKey })
    vault.#server.listen(0, '127.0.0.1')
    await once(vault.#server, 'listening')
    return vault
  }

  get address(): string {
    const address = this.#server.address()
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = JSON.parse(Buffer.concat(chunks).toString())
    this.requests.push({
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body,
    })
    const { status, errors, rawBody, location, isSilent } = this.behaviour
    if (isSilent) return
    const send = (code: number, value: unknown): void => {
      response.writeHead(code, {
        'content-type': 'application/json',
        ...(location === undefined ? {} : { location }),
      })
      response.end(rawBody ?? JSON.stringify(value))
    }
    if (status !== undefined || rawBody !== undefined) send(status ?? 200, { errors: errors ?? [] })
    else if (request.headers['x-vault-token'] !== this.token) send(403, { errors: ['permission denied'] })
    else send(200, await this.#sign(body))
  }

  async #sign(body: Record<string, unknown>): Promise<unknown> {
    const request = await parseCertificateRequest(String(body.csr))
    if (isRefusal(request)) return { errors: ['csr contains invalid data'] }
    const { uris, isCa, publicKeyInfo, signer = this.#signer, data } = this.behaviour
    const nowMs = Date.now()
    const certificate = await signCertificate(signer, {
      publicKeyInfo: publicKeyInfo ?? request.publicKeyInfo,
      uris: uris ?? String(body.uri_sans).split(','),
      notBeforeMs: nowMs - 30_000,
      notAfterMs: nowMs + Number.parseInt(String(body.ttl), 10) * 1000,
      ...(isCa === undefined ? {} : { isCa, organization: 'x' }),
    })
    const leaf = parseCertificate(certificate)
    return {
      request_id: 'a',
      lease_id: '',
      renewable: false,
      lease_duration: 0,
      data: {
        // Vault sends PEM without the last line break.
        certificate: certificate.trim(),
        issuing_ca: this.intermediatePem.trim(),
        ca_chain: [this.intermediatePem.trim(), this.rootPem.trim()],
        expiration: isRefusal(leaf) ? 0 : Math.floor(leaf.notAfterMs / 1000),
        serial_number: '00:01',
        ...data,
      },
      warnings: null,
      auth: null,
    }
  }
}
