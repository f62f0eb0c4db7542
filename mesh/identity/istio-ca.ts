// SPDX-License-Identifier: Apache-2.0
// Istio's CA service from the client's side: ours, istiod, or any other that speaks it. SPEC HBONE §2.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from '../../proto/generated/istio/certificate_pb.js'
import { MeshError } from '../errors/mesh-error.ts'
import { type GrpcClient, type GrpcClientOptions, openGrpcClient } from '../grpc/client.ts'
import type { CertificateIssuer } from './ca-client.ts'

/** Path of the one method of Istio's CA service. */
export const CREATE_CERTIFICATE = '/istio.v1.auth.IstioCertificateService/CreateCertificate'
/** Longest wait for a CA. */
const TIMEOUT_MS = 10_000
/** gRPC statuses after which another attempt may succeed: 1 4 8 10 14. */
const RETRYABLE_STATUSES = new Set([1, 4, 8, 10, 14])
/** After these another server may know more: it is asked at once. */
const UNREACHABLE_STATUSES = new Set([4, 14])

/** How a call is made. */
export interface CaCredentials {
  readonly connection: Omit<GrpcClientOptions, 'address'>
  readonly headers: Readonly<Record<string, string>>
}

export interface CertificateRequestFacts {
  readonly csrPem: string
  readonly ttlSeconds: number
  /** Whose certificate a node asks for; null: its own. */
  readonly impersonatedIdentity: string | null
}

/** Asks one server. @throws CERT_UNAVAILABLE (retryable) when it cannot answer, CERT_INVALID when it refuses */
export async function requestCertificate(
  client: GrpcClient,
  { csrPem, ttlSeconds, impersonatedIdentity }: CertificateRequestFacts,
  headers: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  const request = create(IstioCertificateRequestSchema, {
    csr: csrPem,
    validityDuration: BigInt(Math.ceil(ttlSeconds)),
    ...(impersonatedIdentity === null ? {} : { metadata: { ImpersonatedIdentity: impersonatedIdentity } }),
  })
  const bytes = toBinary(IstioCertificateRequestSchema, request)
  const answer = await client.call(CREATE_CERTIFICATE, bytes, headers, TIMEOUT_MS)
  if (answer.kind === 'status') throw new CaStatusError(answer.code, answer.details)
  try {
    return fromBinary(IstioCertificateResponseSchema, answer.bytes).certChain
  } catch (cause) {
    throw new MeshError('CERT_INVALID', { detail: 'the answer of the CA is unreadable', cause })
  }
}

/** The CA said no, or nothing. */
class CaStatusError extends MeshError {
  readonly status: number
  constructor(status: number, details: string) {
    const retryable = RETRYABLE_STATUSES.has(status)
    const detail = `the CA answered with status ${status}: ${details}`
    super(retryable ? 'CERT_UNAVAILABLE' : 'CERT_INVALID', { side: 'upstream', retryable, detail })
    this.status = status
  }
}

/** What an issuer is made of. */
export interface IstioCaOptions {
  /** `host:port` of every CA; the one that answered last is asked first. */
  readonly addresses: readonly string[]
  /** Read for every request. @throws when there are none now */
  readonly credentials: () => Promise<CaCredentials>
  /** True: identities are asked for on behalf of pods; false: the credentials say whose certificate it is. */
  readonly impersonates: boolean
}

/** The CA behind addresses. Connections are kept; close() ends them. */
export class IstioCa implements CertificateIssuer {
  readonly #options: IstioCaOptions
  readonly #clients = new Map<string, { readonly connection: string; readonly client: GrpcClient }>()
  #first = 0

  constructor(options: IstioCaOptions) {
    this.#options = options
  }

  async issue(identity: string, csrPem: string, ttlSeconds: number): Promise<readonly string[]> {
    const { addresses, credentials, impersonates } = this.#options
    const { connection, headers } = await credentials()
    const facts = { csrPem, ttlSeconds, impersonatedIdentity: impersonates ? identity : null }
    let failure: unknown = new MeshError('CERT_UNAVAILABLE', {
      retryable: true,
      detail: 'no CA is configured',
    })
    for (let tried = 0; tried < addresses.length; tried++) {
      const index = (this.#first + tried) % addresses.length
      try {
        const chain = await requestCertificate(
          this.#clientOf(addresses[index] ?? '', connection),
          facts,
          headers,
        )
        this.#first = index
        return chain
      } catch (cause) {
        failure = cause
        if (!(cause instanceof CaStatusError && UNREACHABLE_STATUSES.has(cause.status))) break
      }
    }
    throw failure
  }

  close(): void {
    for (const { client } of this.#clients.values()) client.close()
    this.#clients.clear()
  }

  /** A connection is made for its roots and its certificate: others need another. */
  #clientOf(address: string, connection: CaCredentials['connection']): GrpcClient {
    const key = JSON.stringify(connection)
    const known = this.#clients.get(address)
    if (known?.connection === key) return known.client
    known?.client.close()
    const client = openGrpcClient({ ...connection, address })
    this.#clients.set(address, { connection: key, client })
    return client
  }
}
