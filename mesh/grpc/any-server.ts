// SPDX-License-Identifier: Apache-2.0
// One of several equal servers: the one that answered last is asked first, the next one when it cannot be reached.
import { type GrpcAnswer, type GrpcClient, type GrpcClientOptions, openGrpcClient } from './client.ts'

/** After these another server may know more: it is asked at once. DEADLINE_EXCEEDED, UNAVAILABLE. */
const UNREACHABLE_STATUSES = new Set([4, 14])
const NO_SERVER: GrpcAnswer = { kind: 'status', code: 14, details: 'no server is configured' }

/** How a call is made. */
export interface CallCredentials {
  readonly connection: Omit<GrpcClientOptions, 'address'>
  readonly headers: Readonly<Record<string, string>>
}

/** Connections are kept; close() ends them. */
export class AnyServer {
  readonly #addresses: readonly string[]
  readonly #clients = new Map<string, { readonly connection: string; readonly client: GrpcClient }>()
  #first = 0

  /** `host:port` of every server. */
  constructor(addresses: readonly string[]) {
    this.#addresses = addresses
  }

  /** The answer of the first that can be reached, or what the last one's absence looked like. @throws CERT_INVALID */
  async call(
    path: string,
    request: Uint8Array,
    { connection, headers }: CallCredentials,
    timeoutMs: number,
  ): Promise<GrpcAnswer> {
    let answer = NO_SERVER
    for (let tried = 0; tried < this.#addresses.length; tried++) {
      const index = (this.#first + tried) % this.#addresses.length
      const client = this.#clientOf(this.#addresses[index] ?? '', connection)
      answer = await client.call(path, request, headers, timeoutMs)
      if (answer.kind === 'status' && UNREACHABLE_STATUSES.has(answer.code)) continue
      this.#first = index
      return answer
    }
    return answer
  }

  close(): void {
    for (const { client } of this.#clients.values()) client.close()
    this.#clients.clear()
  }

  /** A connection is made for its roots and its certificate: others need another. */
  #clientOf(address: string, connection: CallCredentials['connection']): GrpcClient {
    const key = JSON.stringify(connection)
    const known = this.#clients.get(address)
    if (known?.connection === key) return known.client
    known?.client.close()
    const client = openGrpcClient({ ...connection, address })
    this.#clients.set(address, { connection: key, client })
    return client
  }
}
