// SPDX-License-Identifier: Apache-2.0
// Every limit of an HTTP/2 connection, with the reason for its value. docs/limits.md is generated from this table.

/** One limit as the documentation shows it. */
export interface Limit {
  readonly value: number
  readonly unit: 'bytes' | 'ms' | 'count' | 'per second'
  readonly meaning: string
}

/** Named limits of HTTP/2; a session may be given others through its options. */
export const H2_LIMITS = {
  streamWindow: {
    value: 4_194_304,
    unit: 'bytes',
    meaning: 'receive window of a stream: a 10 Gbit/s path of 3 ms stays full; what ztunnel announces',
  },
  connectionWindow: {
    value: 16_777_216,
    unit: 'bytes',
    meaning: 'receive window of a connection: four streams may run at their full window',
  },
  maxFrame: {
    value: 1_048_576,
    unit: 'bytes',
    meaning: 'largest frame accepted: payload is delivered as it arrives, so a large frame needs no memory',
  },
  clientHeaderList: {
    value: 16_384,
    unit: 'bytes',
    meaning: 'largest response header list accepted: answers to CONNECT carry a handful of fields',
  },
  serverHeaderList: {
    value: 65_536,
    unit: 'bytes',
    meaning: 'largest request header list accepted: room for cookies and tokens behind a waypoint',
  },
  headerFields: {
    value: 256,
    unit: 'count',
    meaning: 'fields in one header list: ten times what requests use',
  },
  continuationFrames: {
    value: 8,
    unit: 'count',
    meaning: 'CONTINUATION frames per header block: 8 × 16 KiB exceed every accepted header list',
  },
  interim: {
    value: 16,
    unit: 'count',
    meaning: 'answers of 1xx to one request: 100 and a few of 103 are used, more is a flood',
  },
  headerTable: { value: 4_096, unit: 'bytes', meaning: 'HPACK dynamic table: the default of RFC 7541' },
  concurrentStreams: {
    value: 200,
    unit: 'count',
    meaning: 'streams a client may have open: twice the 100 our own pool and ztunnel use per connection',
  },
  fairFrame: {
    value: 65_536,
    unit: 'bytes',
    meaning: 'largest frame sent while several streams are active: a neighbour waits 0.1 ms at 5 Gbit/s',
  },
  inPlaceFrame: {
    value: 8_192,
    unit: 'bytes',
    meaning: 'payload from which framing in place is cheaper than copying into the shared staging block',
  },
  stagingBlock: {
    value: 65_536,
    unit: 'bytes',
    meaning: 'shared block that gathers small frames of one turn: four TLS records',
  },
  controlBacklog: {
    value: 65_536,
    unit: 'bytes',
    meaning:
      'control frames waiting for a peer that does not read: thousands of acknowledgements, then it is hostile',
  },
  streamLowWater: {
    value: 65_536,
    unit: 'bytes',
    meaning: 'bytes waiting in a stream at which its owner may write again: one frame of the fair size',
  },
  inboundPerWorker: {
    value: 67_108_864,
    unit: 'bytes',
    meaning: 'received bytes a worker holds for paused streams: sixteen full stream windows',
  },
  prefaceTimeout: {
    value: 10_000,
    unit: 'ms',
    meaning: 'wait for the preface and the first SETTINGS of a peer: the connect timeout of the mesh',
  },
  settingsTimeout: { value: 10_000, unit: 'ms', meaning: 'wait for the acknowledgement of our SETTINGS' },
  drainAnnouncement: {
    value: 1_000,
    unit: 'ms',
    meaning: 'longest wait between the announcing and the final GOAWAY: a round trip, bounded',
  },
  linger: {
    value: 1_000,
    unit: 'ms',
    meaning: 'time a finished transport gets to deliver its last bytes (GOAWAY) before it is cut',
  },
  settingsEntries: {
    value: 64,
    unit: 'count',
    meaning: 'parameters in one SETTINGS frame: RFC 9113 defines six, extensions a few more',
  },
  goawayDebug: { value: 16_384, unit: 'bytes', meaning: 'debug data accepted in GOAWAY: one default frame' },
  outstandingPings: {
    value: 8,
    unit: 'count',
    meaning: 'pings of ours without an answer: keep-alive needs two',
  },
  resetBurst: {
    value: 1_000,
    unit: 'count',
    meaning: 'early resets of streams (by the peer, or provoked) in a row: five times the open streams',
  },
  resetRate: {
    value: 200,
    unit: 'per second',
    meaning: 'early resets allowed for ever: far from rapid reset',
  },
  controlBurst: {
    value: 400,
    unit: 'count',
    meaning: 'PING, SETTINGS, PRIORITY, unknown and empty frames in a row: gRPC probes bandwidth with pings',
  },
  controlRate: { value: 50, unit: 'per second', meaning: 'such frames allowed for ever' },
  windowUpdateBurst: {
    value: 10_000,
    unit: 'count',
    meaning: 'WINDOW_UPDATE frames in a row; every frame and KiB we send earns the peer more',
  },
  windowUpdateRate: {
    value: 100,
    unit: 'per second',
    meaning: 'WINDOW_UPDATE frames allowed to an idle peer',
  },
} as const satisfies Record<string, Limit>
