// SPDX-License-Identifier: Apache-2.0
// A gRPC stream in both directions over TLS with raw messages, for one dialled server. It never dials again: whoever
// wants another stream opens one.
import { Client, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { channelCredentials, type GrpcClientOptions } from './client.ts'

/** Longest message taken: what Istio's ztunnel takes. */
const MAX_MESSAGE_BYTES = 200 * 1024 * 1024
/** A server is asked for a sign of life this often. SPEC XDS §1.1. */
const PING_INTERVAL_MS = 30_000
/** Wait for that sign. SPEC XDS §1.1. */
const PING_TIMEOUT_MS = 10_000

/** Hears a stream. */
export interface ClientStreamHandler {
  onMessage(message: Buffer): void
  /** The stream is over, `code` is gRPC's number, 0 when the server ended it. Once, and last. */
  onClose(code: number, details: string): void
}

/** A stream; close() ends it without another word to the handler. */
export interface ClientStream {
  write(message: Uint8Array): void
  close(): void
}

/** Dials and opens the stream. @throws MeshError CERT_INVALID when roots or identity are unreadable */
export function openClientStream(
  options: GrpcClientOptions,
  path: string,
  headers: Readonly<Record<string, string>>,
  connectTimeoutMs: number,
  handler: ClientStreamHandler,
): ClientStream {
  const { serverName } = options
  const client = new Client(options.address, channelCredentials(options), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.keepalive_time_ms': PING_INTERVAL_MS,
    'grpc.keepalive_timeout_ms': PING_TIMEOUT_MS,
    'grpc.use_local_subchannel_pool': 1, // a new stream is a new connection, maybe to another replica
    'grpc.enable_retries': 0,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
    ...(serverName === undefined
      ? {}
      : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
  })
  let isOver = false
  const finish = (code: number, details: string): void => {
    if (isOver) return
    isOver = true
    client.close()
    handler.onClose(code, details)
  }
  const metadata = new Metadata()
  try {
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
  } catch {
    client.close()
    isOver = true
    queueMicrotask(() => handler.onClose(status.INVALID_ARGUMENT, 'a header is not ASCII'))
    return { write() {}, close() {} }
  }
  const same = (bytes: Buffer): Buffer => bytes
  const call = client.makeBidiStreamRequest(path, same, same, metadata)
  client.waitForReady(Date.now() + connectTimeoutMs, (error) => {
    if (error === undefined || isOver) return
    call.cancel()
    finish(status.UNAVAILABLE, `not connected within ${connectTimeoutMs} ms`)
  })
  call.on('data', (message: Buffer) => {
    if (!isOver) handler.onMessage(message)
  })
  call.on('error', (error: ServiceError) =>
    finish(error.code ?? status.UNKNOWN, error.details ?? error.message),
  )
  call.on('end', () => finish(status.OK, ''))
  return {
    write: (message) => {
      if (!isOver) call.write(Buffer.from(message.buffer, message.byteOffset, message.byteLength))
    },
    close: () => {
      if (isOver) return
      isOver = true
      call.cancel()
      client.close()
    },
  }
}
