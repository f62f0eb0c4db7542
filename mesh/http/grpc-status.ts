// SPDX-License-Identifier: Apache-2.0
// gRPC as HTTP sees it: which requests are calls, and which status says what. SPEC gRPC: PROTOCOL-HTTP2.md,
// http-grpc-status-mapping.md. Pure.
import { type HeaderList, headerValue } from './header-list.ts'

const INTERNAL = 13
const UNAVAILABLE = 14
const UNKNOWN = 2
const OF_HTTP: Readonly<Record<number, number>> = {
  400: INTERNAL,
  401: 16, // UNAUTHENTICATED
  403: 7, // PERMISSION_DENIED
  404: 12, // UNIMPLEMENTED
  429: UNAVAILABLE,
  502: UNAVAILABLE,
  503: UNAVAILABLE,
  504: UNAVAILABLE,
}

/** Longest grpc-message, before its encoding: a sentence, not a log. Clients take 8 KiB of fields. */
export const MAX_GRPC_MESSAGE_BYTES = 1_024

/** What an answer of HTTP that is none of gRPC means to a call. */
export function grpcStatusOfHttp(status: number): number {
  return OF_HTTP[status] ?? UNKNOWN
}

/** True for a call: application/grpc, of any encoding. grpc-web is another protocol. */
export function isGrpc(headers: HeaderList): boolean {
  return /^application\/grpc(?:[+; ]|$)/i.test(headerValue(headers, 'content-type') ?? '')
}

/** Percent-encoded as grpc-message wants it; what is longer than MAX_GRPC_MESSAGE_BYTES is cut between two characters. */
export function grpcMessage(text: string): string {
  let bytes = 0
  let encoded = ''
  // By code point: a lone surrogate becomes U+FFFD, as Buffer writes it.
  for (const char of text) {
    const coded = Buffer.from(char)
    bytes += coded.length
    if (bytes > MAX_GRPC_MESSAGE_BYTES) break
    const isPlain = coded.length === 1 && char >= ' ' && char <= '~' && char !== '%'
    encoded += isPlain ? char : coded.toString('hex').toUpperCase().replace(/../g, '%$&')
  }
  return encoded
}
