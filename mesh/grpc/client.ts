// SPDX-License-Identifier: Apache-2.0
// A gRPC client over TLS for unary calls with raw messages. Dials when it is used, dials again when the connection
// was lost; a call ends at its deadline, whatever the server does.
import {
  type ChannelCredentials,
  Client,
  type ClientUnaryCall,
  credentials,
  Metadata,
  status,
} from '@grpc/grpc-js'
import { MeshError } from '../errors/mesh-error.ts'

/** Longest answer: a certificate chain is a few KiB, a bundle of 64 roots 130 KiB. */
export const MAX_ANSWER_BYTES = 1_048_576
/** A lost server is dialled again after at most so long. */
const RECONNECT_MAX_MS = 15_000

/** Whom to call. */
export interface GrpcClientOptions {
  /** `host:port`; the server's certificate must name `host`, or `serverName` if given. */
  readonly address: string
  /** Roots of the server, in PEM. Absent: those the system trusts. */
  readonly rootsPem?: string
  readonly serverName?: string
  /** Who we are, when the server asks. */
  readonly identity?: { readonly certificatePem: string; readonly privateKeyPem: string }
}

/** What came back: bytes, or a status other than OK. */
export type GrpcAnswer =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  /** `code` is one of gRPC's numbers, e.g. 14 UNAVAILABLE; `details` is the server's text: for people. */
  | { readonly kind: 'status'; readonly code: number; readonly details: string }

/** A client. close() ends it and every call. */
export interface GrpcClient {
  /** Never rejects. Headers are ASCII, their names lower case. */
  call(
    path: string,
    request: Uint8Array,
    headers: Readonly<Record<string, string>>,
    timeoutMs: number,
  ): Promise<GrpcAnswer>
  close(): void
}

/** Makes a client; nothing is dialled yet. @throws MeshError CERT_INVALID when roots or identity are unreadable */
export function openGrpcClient(options: GrpcClientOptions): GrpcClient {
  const { serverName } = options
  const client = new Client(options.address, channelCredentials(options), {
    'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
    'grpc.max_reconnect_backoff_ms': RECONNECT_MAX_MS,
    'grpc.enable_retries': 0, // who asks decides whether asking again is right
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
    ...(serverName === undefined
      ? {}
      : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
  })
  const same = (bytes: Buffer): Buffer => bytes
  const running = new Set<ClientUnaryCall>()
  return {
    call: (path, request, headers, timeoutMs) =>
      new Promise((resolve) => {
        const metadata = new Metadata()
        try {
          for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
        } catch {
          // A header that HTTP/2 cannot carry, e.g. a token file with a line break in it.
          resolve({ kind: 'status', code: status.INVALID_ARGUMENT, details: 'a header is not ASCII' })
          return
        }
        const deadline = new Date(Date.now() + timeoutMs)
        const bytes = Buffer.from(request.buffer, request.byteOffset, request.byteLength)
        const call = client.makeUnaryRequest(
          path,
          same,
          same,
          bytes,
          metadata,
          { deadline },
          (error, answer) => {
            running.delete(call)
            if (error !== null) resolve({ kind: 'status', code: error.code, details: error.details })
            else resolve({ kind: 'bytes', bytes: answer ?? Buffer.alloc(0) })
          },
        )
        running.add(call)
      }),
    close: () => {
      for (const call of running) call.cancel()
      client.close()
    },
  }
}

export function channelCredentials({ rootsPem, identity }: GrpcClientOptions): ChannelCredentials {
  try {
    return credentials.createSsl(
      rootsPem === undefined ? null : Buffer.from(rootsPem),
      identity === undefined ? null : Buffer.from(identity.privateKeyPem),
      identity === undefined ? null : Buffer.from(identity.certificatePem),
    )
  } catch (cause) {
    throw new MeshError('CERT_INVALID', { detail: 'the credentials of the client are unusable', cause })
  }
}
