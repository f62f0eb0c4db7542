// SPDX-License-Identifier: Apache-2.0
// The figures of each question: key in results.json, heading, unit. The report and the goals know them from here.
import type { QuestionName } from '../results.ts'
import { CASES } from '../waypoint/cases.ts'

/** One column. */
export interface Metric {
  readonly key: string
  /** Heading of the table it stands in; '' for questions with one table. */
  readonly group: string
  readonly label: string
  readonly digits: number
  /** Whether the ratio of ours to a peer's is worth a line. */
  readonly isCompared: boolean
}

function metric(key: string, label: string, digits: number, isCompared = true, group = ''): Metric {
  return { key, group, label, digits, isCompared }
}

/** Shares of the slower one's maximum that latency is asked at. */
export const LOADS_PERCENT = [30, 60, 90] as const

/** Of the policy that is looked at for every connection. */
export const RULE_COUNTS = [10, 10_000] as const

const REQUESTS: readonly Metric[] = [
  metric('requestsPerSecond', 'requests/s', 0),
  metric('p50Micros', 'p50 µs', 0),
  metric('p99Micros', 'p99 µs', 0),
  metric('cpuMicros', 'CPU µs per request', 1),
  metric('sourceCpuMicros', 'of it client’s side', 1, false),
  metric('destinationCpuMicros', 'server’s side', 1, false),
]

const LATENCY: readonly Metric[] = [
  metric('maximum', 'requests/s', 0, true, 'closed loop, same generator'),
  ...LOADS_PERCENT.flatMap((load) => {
    const group = `open loop at ${load} %`
    return [
      metric(`offered${load}`, 'requests/s offered', 0, false, group),
      metric(`p50Micros${load}`, 'p50 µs', 0, true, group),
      metric(`p99Micros${load}`, 'p99 µs', 0, true, group),
      metric(`p999Micros${load}`, 'p99.9 µs', 0, true, group),
      metric(`answeredPercent${load}`, 'answered %', 1, false, group),
      metric(`sentLateP99Micros${load}`, 'sent late, p99 µs', 0, false, group),
      metric(`cpuMicros${load}`, 'CPU µs per request', 1, true, group),
    ]
  }),
]

const BULK: readonly Metric[] = [1, 8].flatMap((streams) => {
  const group = streams === 1 ? '1 stream' : `${streams} streams`
  return [
    metric(`gbitPerSecond${streams}`, 'Gbit/s', 2, true, group),
    metric(`cpuSecondsPerGb${streams}`, 'CPU s per GB', 2, true, group),
    metric(`sourceCpuSecondsPerGb${streams}`, 'of it client’s side', 2, false, group),
    metric(`destinationCpuSecondsPerGb${streams}`, 'server’s side', 2, false, group),
    metric(`leastShare${streams}`, 'slowest stream ÷ mean', 2, false, group),
  ]
})

const CONNECTIONS: readonly Metric[] = [
  metric('connectionsPerSecond', 'connections/s', 0),
  metric('p50Micros', 'p50 µs', 0),
  metric('p99Micros', 'p99 µs', 0),
  metric('cpuMicros', 'CPU µs per connection', 1),
  metric('failures', 'failed', 0, false),
]

const MEMORY: readonly Metric[] = [
  metric('idleSourceMb', 'client’s side MB', 1, true, 'data process, idle'),
  metric('idleDestinationMb', 'server’s side MB', 1, true, 'data process, idle'),
  metric('idleMb', 'the larger', 1, true, 'data process, idle'),
  metric('streamSourceKb', 'client’s side KB', 2, true, 'per idle stream'),
  metric('streamDestinationKb', 'server’s side KB', 2, true, 'per idle stream'),
  metric('streamKb', 'the larger', 2, true, 'per idle stream'),
  metric('streamTunnels', 'tunnels used', 0, false, 'per idle stream'),
  metric('tunnelSourceKb', 'client’s side KB', 1, true, 'per idle tunnel'),
  metric('tunnelDestinationKb', 'server’s side KB', 1, true, 'per idle tunnel'),
  metric('tunnelKb', 'the larger', 1, true, 'per idle tunnel'),
  metric('tunnels', 'tunnels', 0, false, 'per idle tunnel'),
]

/** Requests and one stream of bulk in one place. */
const BOTH: readonly Metric[] = [
  ...REQUESTS.map((of) => ({ ...of, group: 'requests' })),
  ...BULK.filter(({ group }) => group === '1 stream').map((of) => ({ ...of, group: 'one stream of bulk' })),
]

const NEIGHBOUR: readonly Metric[] = [
  metric('p50MicrosAlone', 'p50 µs', 0, true, 'alone'),
  metric('p99MicrosAlone', 'p99 µs', 0, true, 'alone'),
  metric('p50MicrosBeside', 'p50 µs', 0, true, 'beside 1 Gbit/s of another pod'),
  metric('p99MicrosBeside', 'p99 µs', 0, true, 'beside 1 Gbit/s of another pod'),
  metric('neighbourGbitPerSecond', 'its Gbit/s', 2, false, 'beside 1 Gbit/s of another pod'),
]

const RULES: readonly Metric[] = RULE_COUNTS.flatMap((count) => {
  const group = `${count.toLocaleString('en-US')} rules`
  return [
    metric(`connectionsPerSecond${count}`, 'connections/s', 0, true, group),
    metric(`cpuMicros${count}`, 'CPU µs per connection', 1, true, group),
  ]
})

const WAYPOINT: readonly Metric[] = [
  ...CASES.flatMap(({ key, title }) => [
    metric(`requestsPerSecond${key}`, 'requests/s', 0, true, title),
    metric(`p50Micros${key}`, 'p50 µs', 0, true, title),
    metric(`p99Micros${key}`, 'p99 µs', 0, true, title),
    metric(`cpuMicros${key}`, 'CPU µs per request', 1, true, title),
    metric(`corePercent${key}`, '% of its core', 0, false, title),
    metric(`residentMb${key}`, 'data process MB', 1, true, title),
  ]),
  metric('gbitPerSecond', 'Gbit/s', 2, true, 'bodies of 1 MB'),
  metric('cpuSecondsPerGb', 'CPU s per GB', 2, true, 'bodies of 1 MB'),
  metric('corePercentBig', '% of its core', 0, false, 'bodies of 1 MB'),
  metric('residentMbBig', 'data process MB', 1, true, 'bodies of 1 MB'),
]

export const METRICS: Readonly<Record<QuestionName, readonly Metric[]>> = {
  requests: REQUESTS,
  latency: LATENCY,
  bulk: BULK,
  connections: CONNECTIONS,
  memory: MEMORY,
  'same-node': BOTH,
  passthrough: BOTH,
  neighbour: NEIGHBOUR,
  rules: RULES,
  waypoint: WAYPOINT,
}

/** Headings and one sentence of each question, as the report shows them. */
export const QUESTION_TEXT: Readonly<Record<QuestionName, readonly [title: string, text: string]>> = {
  requests: [
    'Requests per second',
    'wrk, 1 thread, 16 keep-alive connections, closed loop, 6-byte answers of nginx.',
  ],
  latency: [
    'Latency at a given load',
    'Random arrivals on 32 keep-alive connections; a latency counts from the time the request was due. The load is a ' +
      'share of the maximum (closed loop, same generator) of the slower of Sidestep and the ztunnel.',
  ],
  bulk: [
    'Bulk',
    'Zeros from the client to the server, until the server has confirmed the last byte. 1 GB = 10⁹ bytes.',
  ],
  connections: [
    'Connections per second',
    '32 clients from 8 addresses, a new connection per request, tunnels warm; new namespaces for every run.',
  ],
  memory: [
    'Memory',
    'Growth of the resident memory of the data process, freshly started for every run: 5,000 idle keep-alive ' +
      'connections; 800 tunnels to as many addresses with no stream left. 1 KB = 1,024 bytes.',
  ],
  'same-node': [
    'Two pods of one node',
    'As requests and bulk, client and server on one node; ours opted in to `sameNode: direct`.',
  ],
  passthrough: ['Passed through', 'As requests and bulk, to a server that is not in the mesh: no tunnel.'],
  neighbour: [
    'A neighbour that moves data',
    '1,000 requests per second at random times on 32 connections, alone and while another pod of the same node sends ' +
      '1 Gbit/s on four connections.',
  ],
  rules: [
    'Rules of policies',
    'Connections per second as above, with a policy of 10 and of 10,000 rules, none of which is true of them.',
  ],
  waypoint: [
    'Waypoint',
    'wrk, 1 thread, 32 keep-alive connections of HTTP/1.1 through one of our ztunnels (HBONE) to the waypoint, which ' +
      'sends the requests on to nginx in plain text. Each waypoint has one worker and a core for itself; the rest ' +
      'shares the other core: where a proxy uses less than its whole core, compare CPU, not requests/s.',
  ],
}
