// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseSpiffeId } from '../../../mesh/identity/spiffe.ts'
import { CounterReader, createCounterMemory, TrafficCounters } from '../../../mesh/telemetry/counters.ts'
import {
  createRequestMemory,
  RequestCounterReader,
  RequestCounters,
} from '../../../mesh/telemetry/request-counters.ts'
import {
  CALLER_GONE,
  type EndedRequest,
  MAX_CALLERS,
  RETRIES_EXHAUSTED,
  RequestSeries,
  responseFlags,
  WAS_DELAYED,
} from '../../../waypoint/carry/request-series.ts'
import { Target } from '../../../waypoint/carry/target.ts'
import type { KnownCluster } from '../../../waypoint/carry/waypoint-context.ts'
import type { EndpointView } from '../../../waypoint/upstream/cluster-view.ts'

const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/front'
const BAGGAGE =
  'k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=front,service.name=shop-front,service.version=v7'
const target = new Target({
  ...{ kind: 'service', authority: '10.0.0.1:80', name: 'web', namespace: 'shop', hostname: 'web.shop.svc' },
  ...{ port: 80, appProtocol: null, routes: null, telemetry: null, identities: [], guards: [] },
})
const endpoint = { key: 'uid-1' } as unknown as EndpointView // as: its key is what is read
const known = {
  facts: {
    service: { name: 'web-v1', namespace: 'shop', hostname: 'web-v1.shop.svc' },
    workloads: {
      'uid-1': { name: 'cart-0', namespace: 'shop', workloadName: 'cart', identity: 'spiffe://td/ns/a/sa/b' },
    },
  },
} as unknown as KnownCluster // as: the facts are what is read
const REQUEST: EndedRequest = {
  ...{ status: 200, grpcStatus: null, isCall: false, reason: { code: 'OK' }, marks: 0 },
  ...{ known, endpoint, startedMs: 5, bytesReceived: 1, bytesSent: 2 },
}

function series(): {
  readonly series: RequestSeries
  readonly requests: () => readonly string[]
  readonly connections: (metric: number) => readonly (readonly [string, number])[]
} {
  const [memory, traffic] = [createRequestMemory(), createCounterMemory()]
  const [reader, connections] = [new RequestCounterReader(), new CounterReader()]
  const made = new RequestSeries(
    new RequestCounters(memory, reader.addWorker(memory)),
    new TrafficCounters(traffic, connections.addWorker(traffic)),
  )
  return {
    series: made,
    requests: () => (reader.histograms()[0] ?? []).map(({ labels, counts }) => `${counts.at(-1)} ${labels}`),
    connections: (metric) => [...connections.sums(metric)],
  }
}
function front(made: RequestSeries): ReturnType<RequestSeries['callerOf']> {
  const id = parseSpiffeId(IDENTITY)
  if ('code' in id) throw new Error(id.detail)
  return made.callerOf(id, IDENTITY, BAGGAGE)
}

t.test('a request is counted under who asked, who answered, and how', async (t) => {
  const { series: made, requests } = series()
  const caller = front(made)
  t.equal(front(made), caller, 'a caller is one object')
  made.countRequest(caller, target, REQUEST, 9)
  made.countRequest(caller, target, REQUEST, 9)
  made.countRequest(caller, target, { ...REQUEST, isCall: true, grpcStatus: 14 }, 9)
  const [http = '', grpc = ''] = requests()
  for (const label of [
    ...['reporter="waypoint"', 'source_workload="front"', 'source_canonical_service="shop-front"'],
    ...['source_version="v7"', `source_principal="${IDENTITY}"`, 'source_cluster="c1"'],
    ...['destination_service="web-v1.shop.svc"', 'destination_workload="cart"', 'request_protocol="http"'],
    ...['response_code="200"', 'response_flags="-"', 'connection_security_policy="mutual_tls"'],
  ])
    t.ok(http.includes(label), label)
  t.ok(http.startsWith('2 '))
  t.ok(grpc.includes('request_protocol="grpc"') && grpc.includes('grpc_response_status="14"'), grpc)
})

t.test('what was refused before it went anywhere names the service that was asked for', async (t) => {
  const { series: made, requests } = series()
  const caller = made.callerOf(null, '', '')
  const refused: EndedRequest = {
    ...REQUEST,
    status: 404,
    reason: { code: 'ROUTE_NOT_FOUND' },
    known: null,
    endpoint: null,
  }
  made.countRequest(caller, target, refused, 9)
  const [line = ''] = requests()
  for (const label of [
    ...['source_principal="unknown"', 'destination_service="web.shop.svc"', 'destination_workload="unknown"'],
    ...['response_code="404"', 'response_flags="NR"', 'connection_security_policy="unknown"'],
  ])
    t.ok(line.includes(label), label)
})

t.test('what a service answers makes no label sets without end', async (t) => {
  const { series: made, requests } = series()
  const caller = front(made)
  for (const status of [Number.NaN, 1e9, -1, 17.5, 1.5])
    made.countRequest(caller, target, { ...REQUEST, status, isCall: true, grpcStatus: status }, 9)
  t.equal(requests().length, 1)
  t.ok(requests()[0]?.includes('response_code="0",grpc_response_status=""'))
})

t.test('callers without end are forgotten, not kept', async (t) => {
  const { series: made } = series()
  const id = parseSpiffeId(IDENTITY)
  if ('code' in id) throw new Error(id.detail)
  const first = made.callerOf(id, IDENTITY, 'service.name=0')
  for (let index = 1; index < MAX_CALLERS; index++) made.callerOf(id, IDENTITY, `service.name=${index}`)
  t.equal(made.callerOf(id, IDENTITY, 'service.name=0'), first)
  made.callerOf(id, IDENTITY, 'service.name=one more')
  t.not(made.callerOf(id, IDENTITY, 'service.name=0'), first)
  const long = made.callerOf(id, IDENTITY, `service.name=${'x'.repeat(5000)}`)
  t.equal(long.workload?.canonicalName, '')
})

t.test('flags tell of retries, delays and callers that left', async (t) => {
  const flags = (marks: number, code: 'OK' | 'CONNECT_FAILED' = 'OK'): string =>
    responseFlags({ reason: { code }, marks })
  t.equal(flags(0), '-')
  t.equal(flags(RETRIES_EXHAUSTED), 'URX')
  t.equal(flags(RETRIES_EXHAUSTED | WAS_DELAYED, 'CONNECT_FAILED'), 'UF,URX,DI')
  t.equal(flags(CALLER_GONE, 'CONNECT_FAILED'), 'DC')
})

t.test('connections of bytes are counted at their end', async (t) => {
  const { series: made, connections } = series()
  const ended = { known, endpoint, bytesReceived: 10, bytesSent: 20, isCarried: true }
  made.countConnection(front(made), target, ended, 'OK')
  made.countConnection(
    front(made),
    target,
    { ...ended, isCarried: false, bytesReceived: 0, bytesSent: 0 },
    'CONNECT_FAILED',
  )
  const values = [0, 1, 2, 3, 4].map((metric) => connections(metric).map(([, value]) => value))
  t.same(values, [[1], [1], [1], [10], [20]])
  t.ok(connections(2)[0]?.[0].includes('response_flags="CONNECT"'))
})
