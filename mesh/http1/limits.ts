// SPDX-License-Identifier: Apache-2.0
// Every limit of an HTTP/1.1 connection, with the reason for its value. docs/limits.md is generated from this table.
import type { Limit } from '../h2/limits.ts'

export const HTTP1_LIMITS = {
  head: {
    value: 65_536,
    unit: 'bytes',
    meaning:
      'largest head of a message: what HTTP/2 accepts as a header list, so that a message passes either way',
  },
  fields: { value: 256, unit: 'count', meaning: 'fields in one head: what HTTP/2 accepts' },
  trailers: {
    value: 8_192,
    unit: 'bytes',
    meaning: 'largest trailers of a message: a checksum, a gRPC status',
  },
  chunkLine: {
    value: 256,
    unit: 'bytes',
    meaning: 'longest line before a chunk: sixteen digits and an extension, which is skipped',
  },
  interim: {
    value: 16,
    unit: 'count',
    meaning: 'answers of 1xx to one request: 100 and a few of 103 are used, more is a flood',
  },
} as const satisfies Record<string, Limit>
