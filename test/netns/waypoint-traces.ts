// SPDX-License-Identifier: Apache-2.0
// What a waypoint tells of requests one by one: their traces to the service and to a collector, the log as text, what a Telemetry
// says of both, and the tap. Real processes.
import t, { type Test } from 'tap'
import { type LabRecord, poll } from '../support/mesh-lab.ts'
import { type CollectedSpan, SpanCollector } from '../support/span-collector.ts'
import { WAYPOINT_IP } from '../support/waypoint-lab.ts'
import { type HttpAnswer, WaypointMesh } from '../support/waypoint-mesh.ts'

const ROUTES =
  '{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web, namespace: shop}, spec: {hosts: [web], http: [' +
  '{match: [{uri: {prefix: /flaky}}], retries: {attempts: 2, retryOn: 5xx}, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
  '{match: [{uri: {prefix: /fault}}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
  '{headers: {response: {set: {x-routed: "1"}}}, route: [{destination: {host: web-v1, port: {number: 80}}}]}]}}'
const QUIET_VIP = '10.96.0.40'
const QUIET =
  '{apiVersion: v1, kind: Service, metadata: {name: quiet, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}, ' +
  `spec: {selector: {app: cart}, clusterIP: ${QUIET_VIP}, clusterIPs: [${QUIET_VIP}], ports: [{name: http, port: 80, targetPort: 8081}]}}`
const TELEMETRIES = [
  '{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: of-shop, namespace: shop}, ' +
    'spec: {accessLogging: [{providers: [{name: envoy}], filter: {expression: "response.code >= 400"}}]}}',
  '{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: of-quiet, namespace: shop}, ' +
    'spec: {targetRefs: [{kind: Service, group: "", name: quiet}], accessLogging: [{disabled: true}], ' +
    'tracing: [{randomSamplingPercentage: 100, customTags: {team: {literal: {value: blue}}, agent: {header: {name: User-Agent}}}}]}}',
]
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const CALLER = '00f067aa0ba902b7'
const { attribute } = SpanCollector
const [SERVER, CLIENT] = [2, 3]

interface World {
  readonly mesh: WaypointMesh
  readonly collector: SpanCollector
}
type Check = (t: Test, world: World) => Promise<void>

/** A trace of its own for each check: the last two digits tell them apart. */
const traceOf = (number: number): string => `${TRACE.slice(0, 30)}${String(number).padStart(2, '0')}`

/** Header fields as the service saw them. */
function seenBy({ body }: HttpAnswer): Readonly<Record<string, string>> {
  return (JSON.parse(body) as { readonly headers: Record<string, string> }).headers // as: what the service says
}

async function spansIn(
  { collector }: World,
  trace: string,
  count: number,
): Promise<readonly CollectedSpan[]> {
  return await poll(`${count} spans of ${trace}`, () => {
    const found = collector.spans.filter(({ traceId }) => traceId === trace)
    return found.length >= count ? found : null
  })
}

/** Lines of the log, once one of them matches. */
async function linesWith({ mesh }: World, pattern: RegExp): Promise<readonly string[]> {
  return await poll(`a line like ${pattern}`, async () => {
    const lines = (await mesh.admin('/records')).body.split('\n').filter((line) => line !== '')
    return lines.some((line) => pattern.test(line)) ? lines : null
  })
}

const CHECKS: Readonly<Record<string, Check>> = {
  'a trace goes on to the service, and the collector has who is whose parent': async (t, world) => {
    const trace = traceOf(1)
    const answer = await world.mesh.get('front', '/traced', [
      ...[`traceparent: 00-${trace}-${CALLER}-01`, 'tracestate: a=1', 'x-request-id: mine'],
    ])
    const [server, client] = (await spansIn(world, trace, 2)).toSorted((a, b) => a.kind - b.kind)
    const seen = seenBy(answer)
    t.same([server?.kind, client?.kind], [SERVER, CLIENT])
    t.equal(server?.parentSpanId, CALLER)
    t.equal(client?.parentSpanId, server?.spanId)
    t.equal(seen.traceparent, `00-${trace}-${client?.spanId}-01`)
    t.same([seen.tracestate, seen['x-request-id']], ['a=1', 'mine'])
    for (const [key, value] of [
      ['http.request.method', 'GET'],
      ['http.response.status_code', '200'],
      ['url.path', '/traced'],
      ['guid:x-request-id', 'mine'],
      ['istio.canonical_service', 'web'],
      ['sidestep.reason', 'OK'],
    ] as const)
      t.equal(server === undefined ? '' : attribute(server, key), value, key)
  },

  'each attempt is a span of its own; B3 goes on as B3 too': async (t, world) => {
    const trace = traceOf(2)
    const answer = await world.mesh.get('front', '/flaky/1/traced', [`b3: ${trace}-${CALLER}-1`])
    t.equal(answer.status, 200)
    const spans = await spansIn(world, trace, 3)
    const server = spans.find(({ kind }) => kind === SERVER)
    const attempts = spans.filter(({ kind }) => kind === CLIENT)
    t.same(
      attempts.map((each) => [each.parentSpanId, attribute(each, 'http.response.status_code')]),
      [
        [server?.spanId, '503'],
        [server?.spanId, '200'],
      ],
    )
    const last = attempts[1]?.spanId
    t.equal(seenBy(answer).b3, `${trace}-${last}-1-${server?.spanId}`)
    t.equal(seenBy(answer).traceparent, `00-${trace}-${last}-01`)
  },

  'a request that is not kept goes on as it came, and leaves no span': async (t, world) => {
    const [left, kept] = [traceOf(3), traceOf(4)]
    const answer = await world.mesh.get('front', '/left', [`traceparent: 00-${left}-${CALLER}-00`])
    t.equal(seenBy(answer).traceparent, `00-${left}-${CALLER}-00`)
    const begun = await world.mesh.get('front', '/begun', ['traceparent: garbage', 'tracestate: a=1'])
    t.match(seenBy(begun).traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    t.equal(seenBy(begun).tracestate, undefined)
    await world.mesh.get('front', '/kept', [`traceparent: 00-${kept}-${CALLER}-01`])
    await spansIn(world, kept, 2)
    const own = seenBy(begun).traceparent?.split('-')[1]
    t.notOk(world.collector.spans.some(({ traceId }) => traceId === left || traceId === own))
  },

  'the log is Istio’s line, with the reason of an answer of ours': async (t, world) => {
    await world.mesh.get('front', '/logged?a=1', ['user-agent: it"s', 'x-forwarded-for: 1.2.3.4'])
    const lines = await linesWith(world, /\/logged/)
    t.match(
      lines.find((line) => line.includes('/logged')),
      /^\[\d{4}-\S+Z\] "GET \/logged\?a=1 HTTP\/1\.1" 200 - via_upstream - "-" 0 \d+ \d+ \d+ "1\.2\.3\.4,10\.1\.0\.1" "it\\x22s" "[0-9a-f-]{36}" "web" "10\.2\.0\.1:\d+" shop\/web-v1\S* - 10\.96\.0\.30:80 10\.1\.0\.1:0 - \S/,
    )
    await world.mesh.get('front', '/fault')
    t.match(
      (await linesWith(world, /\/fault/)).find((line) => line.includes('/fault')),
      / 418 FI FAULT_INJECTED - "-" 0 \d+ \d+ - /,
    )
  },

  'a tap has the requests that it asks for, as they end': async (t, { mesh }) => {
    const end = new AbortController()
    const seen: LabRecord[] = []
    const reading = (async () => {
      for await (const record of mesh.tap('path=/tapped&status=4xx&source=shop/front', end.signal))
        seen.push(record)
    })().catch((error: Error) => {
      if (error.name !== 'AbortError') throw error
    })
    // The first ones may come before workers know that somebody listens.
    await poll('a request of the tap', async () => {
      await mesh.get('front', '/tapped?status=404')
      return seen.length > 0 || null
    })
    await mesh.get('front', '/other?status=404')
    await mesh.get('front', '/tapped?status=200')
    await mesh.get('front', '/tapped/last?status=410')
    // Workers are read one after the other: it may come before some that ended before.
    const last = await poll('the last one', () => seen.find(({ path }) => path === '/tapped/last') ?? null)
    t.ok(seen.every(({ path, status }) => String(path).startsWith('/tapped') && Number(status) >= 400))
    t.match(last, { status: 410, 'src.namespace': 'shop', 'dst.service': /^web/ })
    end.abort()
    await reading
    t.equal((await mesh.admin('/tap?status=9')).status, 400)
    t.same(JSON.parse((await mesh.admin('/node')).body), { node: 'shop/wp-0' })
  },

  'a Telemetry turns the log off for one service, and its traces on': async (t, world) => {
    const { mesh } = world
    const quiet = (path: string): Promise<HttpAnswer> =>
      mesh.callAt('front', QUIET_VIP, 80, `GET ${path} HTTP/1.1\r\nhost: quiet\r\nuser-agent: me\r\n\r\n`)
    await mesh.configure([ROUTES, QUIET, ...TELEMETRIES], ({ headers }) => headers['x-routed'] === '1')
    const kept = await poll('the Telemetry in force', async () => {
      const { traceparent = '' } = seenBy(await quiet('/quiet?status=200'))
      return traceparent.endsWith('-01') ? traceparent : null
    })
    const spans = await spansIn(world, kept.split('-')[1] ?? '', 2)
    const server = spans.find(({ kind }) => kind === SERVER)
    t.same([server && attribute(server, 'team'), server && attribute(server, 'agent')], ['blue', 'me'])
    t.equal((await quiet('/silent?status=500')).status, 500)
    await mesh.get('front', '/fine')
    await mesh.get('front', '/failed?status=500')
    const lines = await linesWith(world, /\/failed/)
    t.notOk(
      lines.some((line) => line.includes('/silent')),
      'its service is not logged',
    )
    t.notOk(
      lines.some((line) => line.includes('/fine')),
      'only errors are',
    )
  },

  'a collector that hangs holds up nobody': async (t, world) => {
    world.collector.mode = 'stall'
    const startMs = performance.now()
    for (let number = 10; number < 40; number++)
      await world.mesh.get('front', '/stalled', [`traceparent: 00-${traceOf(number)}-${CALLER}-01`])
    await poll('a request that waits', () => world.collector.stalledCount > 0 || null)
    t.equal((await world.mesh.get('front', '/stalled')).status, 200)
    t.ok(performance.now() - startMs < 20_000)
    world.collector.mode = 'take'
    await spansIn(world, traceOf(39), 2)
    const { body } = await world.mesh.admin('/metrics')
    t.match(body, /^sidestep_spans_total\{end="lost"\} 0$/m)
  },
}

t.test('a waypoint tells of each request', async (t) => {
  t.setTimeout(180_000)
  const opened: SpanCollector[] = []
  const mesh = await WaypointMesh.startWith(t, (lab) => {
    const collector = new SpanCollector(lab.namespaceOf('stranger'))
    opened.push(collector)
    t.teardown(() => collector.close())
    return {
      SIDESTEP_ACCESS_LOG: 'text',
      SIDESTEP_OTLP_ENDPOINT: `http://${WAYPOINT_IP}:${collector.port}`,
      SIDESTEP_OTLP_SAMPLES_PER_MILLION: '0',
    }
  })
  const [collector] = opened
  if (collector === undefined) throw new Error('no collector')
  await mesh.configure([ROUTES, QUIET], ({ headers }) => headers['x-routed'] === '1')
  for (const [sentence, check] of Object.entries(CHECKS))
    await t.test(sentence, (t) => check(t, { mesh, collector }))
})
