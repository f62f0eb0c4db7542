// SPDX-License-Identifier: Apache-2.0
// The waypoint as its users meet it: real processes, a controller, ztunnels of two nodes, services of HTTP.
import t, { type Test } from 'tap'
import type { LabRecord } from '../support/mesh-lab.ts'
import { poll } from '../support/mesh-lab.ts'
import { CART_IP, identity } from '../support/waypoint-lab.ts'
import { type HttpAnswer, WaypointMesh } from '../support/waypoint-mesh.ts'

const httpRoute = (rules: string): string =>
  '{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: web, namespace: shop}, ' +
  `spec: {parentRefs: [{group: "", kind: Service, name: web}], rules: ${rules}}}`
const virtualService = (http: string): string =>
  '{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web, namespace: shop}, ' +
  `spec: {hosts: [web], http: ${http}}}`
const V1 = 'backendRefs: [{name: web-v1, port: 80}]'
const V2 = 'backendRefs: [{name: web-v2, port: 80}]'

/** What the service says it was asked. */
interface Seen {
  readonly service: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly bytes: number
}
const seenBy = (answer: HttpAnswer): Seen => JSON.parse(answer.body) as Seen // as: http-service.ts writes it

type Check = (t: Test, mesh: WaypointMesh) => Promise<void>

const lastRecord = (mesh: WaypointMesh, holds: (record: LabRecord) => boolean): Promise<LabRecord> =>
  poll('a record of the waypoint', async () => (await mesh.records()).findLast(holds) ?? null)

/** In their order: one may leave to the next what it has configured. */
const CHECKS: Readonly<Record<string, Check>> = {
  'carries a request to the service, with who sent it': async (t, mesh) => {
    const answer = await mesh.get('front', '/hello?x=1')
    t.equal(answer.status, 200, answer.body)
    const seen = seenBy(answer)
    t.match(seen, { service: 'v1', method: 'GET', url: '/hello?x=1' })
    t.equal(seen.headers['x-forwarded-for'], '10.1.0.1')
    t.equal(
      seen.headers['x-forwarded-client-cert'],
      `By=${identity('wp')};URI=${identity('front')}`,
      'what a caller says of itself is not believed',
    )
    t.match(await lastRecord(mesh, ({ path }) => path === '/hello'), {
      ...{ scope: 'request', reason: 'OK', status: 200, 'src.identity': identity('front') },
      'dst.identity': identity('cart'),
    })
  },

  'a body of two megabytes arrives whole, and so does an answer without length': async (t, mesh) => {
    const body = 'x'.repeat(2_000_000)
    const head = `POST /upload HTTP/1.1\r\nhost: web\r\ncontent-length: ${body.length}\r\n\r\n`
    const answer = await mesh.call('front', head + body)
    t.equal(seenBy(answer).bytes, body.length)
  },

  'what is no request is answered with its reason': async (t, mesh) => {
    const answer = await mesh.call('front', 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n')
    t.equal(answer.status, 400)
    t.equal(answer.headers['x-sidestep-reason'], 'HTTP1_HOST')
  },

  'routes by path, header and method': async (t, mesh) => {
    await mesh.configure(
      [
        httpRoute(
          `[{matches: [{path: {type: PathPrefix, value: /v2}}], ${V2}}, ` +
            `{matches: [{headers: [{name: x-canary, value: "yes"}]}], ${V2}}, ` +
            `{matches: [{method: DELETE}], filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example, statusCode: 301}}]}, ` +
            `{matches: [{path: {type: Exact, value: /}}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-routed, value: "1"}]}}], ${V1}}]`,
        ),
      ],
      ({ headers }) => headers['x-routed'] === '1',
    )
    t.equal(seenBy(await mesh.get('front', '/v2/deep')).service, 'v2')
    t.equal(seenBy(await mesh.get('front', '/h', ['x-canary: yes'])).service, 'v2')
    t.equal(seenBy(await mesh.get('front', '/')).service, 'v1')
    t.equal(seenBy(await mesh.get('front', '/x/../v2/deep')).service, 'v2', 'one spelling for each path')
    const moved = await mesh.call('front', 'DELETE /v9 HTTP/1.1\r\nhost: web\r\n\r\n')
    t.match([moved.status, moved.headers.location], [301, 'http://other.example/v9'])
    const missing = await mesh.get('front', '/nowhere')
    t.match([missing.status, missing.headers['x-sidestep-reason']], [404, 'ROUTE_NOT_FOUND'])
    t.match(await lastRecord(mesh, ({ path }) => path === '/v2/deep'), {
      route: 'HTTPRoute shop/web, rule 0',
    })
  },

  'shares requests by weight, rewrites them, and copies them': async (t, mesh) => {
    const mirror = '{type: RequestMirror, requestMirror: {backendRef: {name: web-v2, port: 80}}}'
    const rewrite =
      '{type: URLRewrite, urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}'
    await mesh.configure(
      [
        httpRoute(
          '[{matches: [{path: {type: PathPrefix, value: /split}}], backendRefs: [{name: web-v1, port: 80, weight: 90}, ' +
            '{name: web-v2, port: 80, weight: 10}]}, ' +
            `{matches: [{path: {type: PathPrefix, value: /old}}], filters: [${rewrite}, ${mirror}], ${V1}}, ` +
            `{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-routed, value: "2"}]}}], ${V1}}]`,
        ),
      ],
      ({ headers }) => headers['x-routed'] === '2',
    )
    const counts = { v1: 0, v2: 0 }
    for (let i = 0; i < 200; i++) {
      const { service } = seenBy(await mesh.get('front', '/split'))
      counts[service as 'v1' | 'v2']++ // as: the services there are
    }
    // 200 requests of a share of 10 %: outside of these less than once in a million runs.
    t.ok(counts.v2 > 2 && counts.v2 < 45, JSON.stringify(counts))
    const seen = seenBy(await mesh.get('front', '/old/thing?q=1'))
    t.match(seen, { service: 'v1', url: '/new/thing?q=1' })
    t.equal(seen.headers.host, 'inner.example')
  },

  'tries again, waits, fails on purpose: a VirtualService': async (t, mesh) => {
    await mesh.configure(
      [
        virtualService(
          '[{match: [{uri: {prefix: /flaky}}], retries: {attempts: 3, retryOn: 5xx}, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
            '{match: [{uri: {prefix: /slow}}], timeout: 0.3s, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
            '{match: [{uri: {prefix: /fault}}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
            '{headers: {response: {set: {x-routed: "3"}}}, route: [{destination: {host: web-v1, port: {number: 80}}}]}]',
        ),
      ],
      ({ headers }) => headers['x-routed'] === '3',
    )
    const tried = await mesh.get('front', '/flaky/2/a')
    t.equal(tried.status, 200)
    t.match(await lastRecord(mesh, ({ path }) => path === '/flaky/2/a'), { attempts: 3 })
    const once = await mesh.get('front', '/flaky/9/b')
    t.equal(once.status, 503, 'what fails more often than it is tried is told')
    const late = await mesh.get('front', '/slow?delay=2000')
    t.match([late.status, late.headers['x-sidestep-reason']], [504, 'REQUEST_TIMEOUT'])
    const faulty = await mesh.get('front', '/fault')
    t.match([faulty.status, faulty.headers['x-sidestep-reason']], [418, 'FAULT_INJECTED'])
  },

  'who dials the pod comes through it too, without routes': async (t, mesh) => {
    const answer = await mesh.callAt('front', CART_IP, 8081, 'GET /slow HTTP/1.1\r\nhost: web\r\n\r\n')
    t.match(seenBy(answer), { service: 'v1', url: '/slow' })
    t.match(await lastRecord(mesh, (record) => record['dst.authority'] === `${CART_IP}:8081`), {
      ...{ reason: 'OK', 'src.identity': identity('front') },
    })
  },

  'a service that is down is told as such': async (t, mesh) => {
    const before = await mesh.get('front', '/')
    t.equal(before.status, 200)
    await mesh.stopService('v1')
    const answer = await mesh.get('front', '/')
    t.match([answer.status, answer.headers['x-sidestep-reason']], [503, 'ENDPOINT_REFUSED'])
    await mesh.startService('v1')
    t.equal((await mesh.get('front', '/')).status, 200)
  },

  'an upgrade loses no request, with nobody at the controller': async (t, mesh) => {
    await mesh.controller.kill()
    const before = await mesh.dataPid()
    const calling = mesh.callOn('front')
    t.equal((await mesh.admin('/upgrade', 'POST')).status, 200)
    t.ok(
      await poll(
        'the next generation',
        async () => (await mesh.dataPid().catch(() => before)) !== before || null,
      ),
    )
    const statuses = await calling.stop()
    t.same([...new Set(statuses)], [200], `${statuses.length} calls`)
  },

  'a data process that dies is replaced without a controller, and nobody is turned away': async (t, mesh) => {
    const before = await mesh.dataPid()
    process.kill(before, 'SIGKILL')
    t.equal((await mesh.get('front', '/')).status, 200)
    t.ok(await mesh.nextDataPid(before))
  },

  'a data process serves on without its supervisor, and the next one takes it over': async (t, mesh) => {
    const before = await mesh.dataPid()
    process.kill(mesh.supervisorPid, 'SIGKILL')
    const alone = await mesh.get('front', '/')
    const told = (await mesh.lab.records('n1')).slice(-3)
    t.equal(alone.status, 200, JSON.stringify([alone, told, (await mesh.records()).slice(-3)]))
    mesh.startWaypoint()
    await poll('the take-over', () => mesh.log.includes('data process taken over') || null)
    t.equal((await mesh.get('front', '/')).status, 200)
    t.equal(await mesh.dataPid(), before)
  },
}

t.setTimeout(240_000)
t.test('a waypoint', { timeout: 210_000 }, async (t) => {
  const mesh = await WaypointMesh.start(t)
  for (const [name, check] of Object.entries(CHECKS)) await t.test(name, (t) => check(t, mesh))
})
