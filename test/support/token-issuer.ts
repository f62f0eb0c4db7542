// SPDX-License-Identifier: Apache-2.0
// Issues tokens for tests, and serves the keys that verify them over HTTP.
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose'

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>

/** One signing key; `id` '': its tokens do not name it. */
export class SigningKey {
  readonly id: string
  readonly jwk: JWK
  readonly #pair: KeyPair

  private constructor(id: string, pair: KeyPair, jwk: JWK) {
    this.id = id
    this.#pair = pair
    this.jwk = jwk
  }

  static async create(id: string): Promise<SigningKey> {
    const pair = await generateKeyPair('ES256', { extractable: true })
    const jwk = await exportJWK(pair.publicKey)
    return new SigningKey(id, pair, { ...jwk, alg: 'ES256', use: 'sig', ...(id !== '' && { kid: id }) })
  }

  /** A token with these claims, `seconds` long. */
  sign(claims: JWTPayload, seconds = 600): Promise<string> {
    const end = Math.floor(Date.now() / 1000) + seconds
    return new SignJWT({ exp: end, ...claims })
      .setProtectedHeader({ alg: 'ES256', ...(this.id !== '' && { kid: this.id }) })
      .sign(this.#pair.privateKey)
  }
}

/** A server of keys: what it says, and whether it says anything, can be changed. */
export class KeyServer {
  keys: readonly JWK[] = []
  /** `hang`: it takes the request and says nothing. */
  mode: 'answer' | 'hang' | 'fail' = 'answer'
  requests = 0
  readonly #server: Server
  readonly #hanging = new Set<ServerResponse>()

  constructor() {
    this.#server = createServer((_request, response) => {
      this.requests++
      if (this.mode === 'hang') this.#hanging.add(response)
      else {
        response.statusCode = this.mode === 'fail' ? 500 : 200
        response.end(JSON.stringify({ keys: this.keys }))
      }
    })
  }

  /** Listens on a free port, in the namespace of whoever calls: the socket is opened at once. Returns the address of its keys. */
  listen(): string {
    this.#server.listen(0)
    const { port } = this.#server.address() as AddressInfo // as: it listens on TCP
    return `http://127.0.0.1:${port}/keys`
  }

  close(): void {
    for (const response of this.#hanging) response.destroy()
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
