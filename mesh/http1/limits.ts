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
    meaning: 'longest line before a chunk: its digits and an extension, which is skipped',
  },
  interim: {
    value: 16,
    unit: 'count',
    meaning: 'answers of 1xx to one request: 100 and a few of 103 are used, more is a flood',
  },
  headTimeout: {
    value: 10_000,
    unit: 'ms',
    meaning: 'from the first byte of a head to its last: nobody holds a connection with a byte now and then',
  },
  idleTimeout: {
    value: 300_000,
    unit: 'ms',
    meaning:
      'a client’s connection without a request, or that owes the rest of one that is answered: longer than clients keep theirs',
  },
  drainIdle: {
    value: 5_000,
    unit: 'ms',
    meaning:
      'a client whose connection drains is waited for so long between two requests: told with an answer it loses none',
  },
  exchangesPerTurn: {
    value: 32,
    unit: 'count',
    meaning: 'requests of one packet that are answered in one turn: others are served between',
  },
  discard: {
    value: 65_536,
    unit: 'bytes',
    meaning:
      'rest of a request that is read after its answer, to keep the connection; more costs more than a new one',
  },
  inPlaceChunk: {
    value: 8_192,
    unit: 'bytes',
    meaning:
      'part of a body from which writing it where it lies is cheaper than copying it to its neighbours',
  },
  linger: {
    value: 1_000,
    unit: 'ms',
    meaning: 'time a finished connection gets to take the end of its last answer, while it takes nothing',
  },
} as const satisfies Record<string, Limit>
