// SPDX-License-Identifier: Apache-2.0
// Labels of callers and of endpoints at a real waypoint: of the workloads as the controller tells them.
import t from 'tap'
import { type HttpAnswer, WaypointMesh } from '../support/waypoint-mesh.ts'

const ROUTES =
  '{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web, namespace: shop}, spec: {hosts: [web], http: [' +
  '{match: [{sourceLabels: {tier: of-batch}}], route: [{destination: {host: web-v2, port: {number: 80}}}]}, ' +
  '{match: [{uri: {prefix: /gold}}], route: [{destination: {host: web-v1, subset: gold, port: {number: 80}}}]}, ' +
  '{match: [{uri: {prefix: /cart}}], route: [{destination: {host: web-v1, subset: cart, port: {number: 80}}}]}, ' +
  '{headers: {response: {set: {x-routed: "1"}}}, route: [{destination: {host: web-v1, port: {number: 80}}}]}]}}'
const SUBSETS =
  '{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: web-v1, namespace: shop}, spec: ' +
  '{host: web-v1, subsets: [{name: gold, labels: {tier: gold}}, {name: cart, labels: {tier: of-cart}}]}}'

const serviceOf = ({ body }: HttpAnswer): string => (JSON.parse(body) as { service: string }).service // as: http-service.ts

t.setTimeout(120_000)
t.test('labels at a waypoint', { timeout: 110_000 }, async (t) => {
  const mesh = await WaypointMesh.start(t)
  await mesh.configure([ROUTES, SUBSETS], ({ headers }) => headers['x-routed'] === '1')

  await t.test('a route for callers of certain labels is for those', async (t) => {
    t.equal(serviceOf(await mesh.get('batch', '/who')), 'v2')
    t.equal(serviceOf(await mesh.get('front', '/who')), 'v1')
  })

  await t.test('a subset is of the endpoints with its labels', async (t) => {
    t.equal(serviceOf(await mesh.get('front', '/cart')), 'v1')
    const nobody = await mesh.get('front', '/gold')
    t.match([nobody.status, nobody.headers['x-sidestep-reason']], [503, 'NO_ENDPOINT'])
  })
})
