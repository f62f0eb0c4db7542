// SPDX-License-Identifier: Apache-2.0
// Istio's CA service from the client's side: ours, istiod, or any other that speaks it. SPEC HBONE §2.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from '../../proto/generated/istio/certificate_pb.js'
import { MeshError } from '../errors/mesh-error.ts'
import { AnyServer, type CallCredentials } from '../grpc/any-server.ts'
import type { GrpcClient } from '../grpc/client.ts'
import type { CertificateIssuer } from './ca-client.ts'

/** Path of the one method of Istio's CA service. */
export const CREATE_CERTIFICATE = '/istio.v1.auth.IstioCertificateService/CreateCertificate'
/** Longest wait for a CA. */
const TIMEOUT_MS = 10_000
/** gRPC statuses after which another attempt may succeed: 1 4 8 10 14. */
const RETRYABLE_STATUSES = new Set([1, 4, 8, 10, 14])

export interface CertificateRequestFacts {
  readonly csrPem: string
  readonly ttlSeconds: number
  /** Whose certificate a node asks for; null: its own. */
  readonly impersonatedIdentity: string | null
}

/** Asks a server. @throws CERT_UNAVAILABLE (retryable) when it cannot answer, CERT_INVALID when it refuses */
export async function requestCertificate(
  client: Pick<GrpcClient, 'call'>,
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
  readonly credentials: () => Promise<CallCredentials>
  /** True: identities are asked for on behalf of pods; false: the credentials say whose certificate it is. */
  readonly impersonates: boolean
}

/** The CA behind addresses. Connections are kept; close() ends them. */
export class IstioCa implements CertificateIssuer {
  readonly #options: IstioCaOptions
  readonly #servers: AnyServer

  constructor(options: IstioCaOptions) {
    this.#options = options
    this.#servers = new AnyServer(options.addresses)
  }

  async issue(identity: string, csrPem: string, ttlSeconds: number): Promise<readonly string[]> {
    const { credentials, impersonates } = this.#options
    const { connection, headers } = await credentials()
    const facts = { csrPem, ttlSeconds, impersonatedIdentity: impersonates ? identity : null }
    const client: Pick<GrpcClient, 'call'> = {
      call: (path, request, headers, timeoutMs) =>
        this.#servers.call(path, request, { connection, headers }, timeoutMs),
    }
    return await requestCertificate(client, facts, headers)
  }

  close(): void {
    this.#servers.close()
  }
}
