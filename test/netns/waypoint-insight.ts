// SPDX-License-Identifier: Apache-2.0
// What a waypoint tells of requests: metrics, as Prometheus reads them, of real processes.
import t, { type Test } from 'tap'
import { poll } from '../support/mesh-lab.ts'
import { identity } from '../support/waypoint-lab.ts'
import { WaypointMesh } from '../support/waypoint-mesh.ts'

const ROUTES =
  '{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web, namespace: shop}, spec: {hosts: [web], http: [' +
  '{match: [{uri: {prefix: /flaky}}], retries: {attempts: 2, retryOn: 5xx}, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
  '{match: [{uri: {prefix: /fault}}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
  '{match: [{uri: {prefix: /gone}}], route: [{destination: {host: web-v2, port: {number: 80}}}]}, ' +
  '{headers: {response: {set: {x-routed: "1"}}}, route: [{destination: {host: web-v1, port: {number: 80}}}]}]}}'

type Check = (t: Test, mesh: WaypointMesh) => Promise<void>

/** The sample of a counter that has all of these labels, once it is there. */
function sample(mesh: WaypointMesh, name: string, ...labels: readonly string[]): Promise<number> {
  return poll(`${name} of ${labels.join()}`, async () => {
    const { body } = await mesh.admin('/metrics')
    const lines = body
      .split('\n')
      .filter((each) => each.startsWith(`${name}{`) || each.startsWith(`${name} `))
    const line = lines.find((each) => labels.every((label) => each.includes(label)))
    return line === undefined ? null : Number(line.slice(line.lastIndexOf(' ') + 1))
  })
}

const CHECKS: Readonly<Record<string, Check>> = {
  'a request is counted under who asked and who answered': async (t, mesh) => {
    t.equal((await mesh.get('front', '/counted')).status, 200)
    const labels = [
      ...[
        'reporter="waypoint"',
        `source_principal="${identity('front')}"`,
        'source_workload_namespace="shop"',
      ],
      ...['destination_service="web-v1.shop.svc.cluster.local"', 'destination_service_name="web-v1"'],
      ...['destination_workload="cart"', `destination_principal="${identity('cart')}"`],
      ...['request_protocol="http"', 'response_code="200"', 'response_flags="-"'],
      'connection_security_policy="mutual_tls"',
    ]
    t.ok((await sample(mesh, 'istio_requests_total', ...labels)) >= 1)
    const times = 'istio_request_duration_milliseconds'
    const count = await sample(mesh, `${times}_count`, ...labels)
    t.equal(await sample(mesh, `${times}_bucket`, ...labels, 'le="+Inf"'), count)
    t.ok((await sample(mesh, `${times}_sum`, ...labels)) > 0, 'it took time')
    t.ok((await sample(mesh, 'istio_response_bytes_sum', ...labels)) > 100)
  },

  'what failed has the flag of why': async (t, mesh) => {
    t.equal((await mesh.get('front', '/fault')).status, 418)
    t.equal(await sample(mesh, 'istio_requests_total', 'response_code="418"', 'response_flags="FI"'), 1)
    const fault = await poll(
      'the record',
      async () => (await mesh.records()).find(({ path }) => path === '/fault') ?? null,
    )
    t.equal(fault.response_flags, 'FI', 'in the record too')
    t.equal((await mesh.call('front', 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n')).status, 400)
    t.equal(await sample(mesh, 'istio_requests_total', 'response_code="400"', 'response_flags="DPE"'), 1)
    await mesh.stopService('v2')
    t.equal((await mesh.get('front', '/gone')).status, 503)
    await mesh.startService('v2')
    t.ok(
      await sample(
        mesh,
        'istio_requests_total',
        'response_code="503"',
        'response_flags="UF',
        'name="web-v2"',
      ),
    )
  },

  'retries are counted, and those in vain are told': async (t, mesh) => {
    const before = await sample(mesh, 'sidestep_waypoint_retries_total')
    t.equal((await mesh.get('front', '/flaky/2/metrics')).status, 200)
    t.equal(await sample(mesh, 'sidestep_waypoint_retries_total'), before + 2)
    t.equal((await mesh.get('front', '/flaky/9/metrics')).status, 503)
    t.equal(await sample(mesh, 'istio_requests_total', 'response_code="503"', 'response_flags="URX"'), 1)
    t.ok((await sample(mesh, 'sidestep_waypoint_tunnels')) >= 1)
    const expiry = await sample(mesh, 'sidestep_certificate_expiry_seconds', identity('wp'))
    t.ok(expiry > Date.now() / 1000)
  },
}

t.test('a waypoint tells what it does', async (t) => {
  t.setTimeout(120_000)
  const mesh = await WaypointMesh.start(t)
  await mesh.configure([ROUTES], ({ headers }) => headers['x-routed'] === '1')
  for (const [sentence, check] of Object.entries(CHECKS)) await t.test(sentence, (t) => check(t, mesh))
})
