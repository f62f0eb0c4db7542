// SPDX-License-Identifier: Apache-2.0
// Every limit of HBONE tunnels, with the reason for its value. docs/limits.md is generated from this table.
import type { Limit } from '../h2/limits.ts'

/** Named limits; a pool may be given others through its options. */
export const HBONE_LIMITS = {
  pingInterval: {
    value: 10_000,
    unit: 'ms',
    meaning: 'PING on every tunnel: what ztunnel and Envoy waypoints use',
  },
  pingTimeout: { value: 20_000, unit: 'ms', meaning: 'a tunnel whose PING is unanswered for so long is cut' },
  connectTimeout: {
    value: 12_000,
    unit: 'ms',
    meaning: 'wait for the answer to CONNECT: the 10 s the other side has for its application, and the way',
  },
  streamsPerConnection: {
    value: 100,
    unit: 'count',
    meaning:
      'streams on one tunnel before another is opened: the value of ztunnel, half of what servers accept',
  },
  idleRelease: {
    value: 300_000,
    unit: 'ms',
    meaning: 'a tunnel without streams is closed after that: as ztunnel',
  },
  sweepInterval: {
    value: 30_000,
    unit: 'ms',
    meaning: 'how often a pool looks for idle tunnels: a tenth of the release',
  },
  waitingPerKey: {
    value: 1_024,
    unit: 'count',
    meaning: 'connections that wait for the dial of one tunnel: ten tunnels full',
  },
  tunnelsPerKey: {
    value: 64,
    unit: 'count',
    meaning: 'tunnels to one destination: 6,400 connections of a pod to a pod',
  },
  dialWait: {
    value: 12_000,
    unit: 'ms',
    meaning: 'wait for a tunnel to be dialled: connect timeout plus handshake',
  },
  dialBackoffFirst: {
    value: 50,
    unit: 'ms',
    meaning: 'pause after a failed dial; doubles with every failure',
  },
  dialBackoffLast: {
    value: 5_000,
    unit: 'ms',
    meaning: 'longest pause: an endpoint that came back serves within it',
  },
  baggage: {
    value: 4_096,
    unit: 'bytes',
    meaning: 'longest baggage read: half of the W3C limit, seven names fit',
  },
  forwarded: { value: 512, unit: 'bytes', meaning: 'longest forwarded read: one address and one host name' },
} as const satisfies Record<string, Limit>
