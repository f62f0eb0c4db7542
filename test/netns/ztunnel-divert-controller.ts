// SPDX-License-Identifier: Apache-2.0
// What a controller says of a waypoint is what nodes do: with one of ours before a pod its node diverts to it whoever calls
// the pod, with one of another class it refuses them, and without one it lets them in.
import { join } from 'node:path'
import t from 'tap'
import { openDirectoryKeyStore } from '../../controller/ca/key-store.ts'
import { parseAuthorityState, signerOf } from '../../controller/ca/rotation.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { TestAuthority } from '../support/certificates.ts'
import { PODS, startControlledLab } from '../support/controlled-lab.ts'
import { clusterYaml } from '../support/controller-process.ts'
import { type LabRecord, type MeshLab, poll } from '../support/mesh-lab.ts'
import { CART_IP, CART_VIP, identity, WAYPOINT_HOST, WAYPOINT_IP } from '../support/waypoint-lab.ts'
import { WaypointProcess } from '../support/waypoint-process.ts'

/** A Gateway of that class with its pod and its service, and the service cart behind it. */
function behindWaypoint(className: string): string {
  const own =
    `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wp, namespace: shop}, spec: {` +
    `gatewayClassName: ${className}, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}, ` +
    `status: {addresses: [{type: Hostname, value: ${WAYPOINT_HOST}}]}}`
  const labels = '{gateway.networking.k8s.io/gateway-name: wp, sidestep.dev/mode: none}'
  const pod =
    `{apiVersion: v1, kind: Pod, metadata: {name: wp-0, namespace: shop, labels: ${labels}}, ` +
    'spec: {nodeName: n9, serviceAccountName: wp, containers: [{name: main}]}, status: {phase: Running, ' +
    `podIP: ${WAYPOINT_IP}, podIPs: [{ip: ${WAYPOINT_IP}}], conditions: [{type: Ready, status: "True"}]}}`
  const service =
    '{apiVersion: v1, kind: Service, metadata: {name: wp, namespace: shop}, spec: {' +
    'selector: {gateway.networking.k8s.io/gateway-name: wp}, clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ' +
    'ports: [{name: hbone, port: 15008, targetPort: 15008}]}}'
  const cluster = clusterYaml(PODS, []).replace(
    'metadata: {name: cart, namespace: shop}, spec: {selector',
    'metadata: {name: cart, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}, spec: {selector',
  )
  return [cluster, own, pod, service].join('\n---\n')
}

/** One call of the greeter in the pod itself: what the node of cart has recorded of its caller. */
async function callPod(lab: MeshLab): Promise<LabRecord> {
  const known = (await lab.records('n2')).length
  const socket = lab.connect('front', CART_IP, 9001)
  await socket.until('an end', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  socket.destroy()
  const isCaller = (record: LabRecord): boolean => record['src.identity'] === identity('front')
  const [record] = await lab.recordsAfter('n2', known, isCaller)
  return record ?? {}
}

t.setTimeout(150_000)
t.test('what a controller says of waypoints', { timeout: 120_000 }, async (t) => {
  const { lab, controller } = await startControlledLab(t)
  const stored = await openDirectoryKeyStore(join(lab.directory, 'controller', 'ca')).read('authority')
  const state = parseAuthorityState(stored?.text ?? '')
  if (isRefusal(state)) throw new Error(state.detail)
  const { certificatePem, privateKeyPem } = signerOf(state)
  const authority = await TestAuthority.load(certificatePem + privateKeyPem)
  const own = await authority.sign({
    ...{ trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'wp' },
  })
  const waypoint = await WaypointProcess.start(lab.namespaceOf('stranger'), {
    ...{ ip: WAYPOINT_IP, server: own, client: own, rootPem: authority.rootPem, denied: [] },
    routes: { [`${CART_VIP}:91`]: `${CART_IP}:9001` },
    behind: { [CART_IP]: identity('cart') },
  })
  t.teardown(() => waypoint.stop())
  const until = (holds: (record: LabRecord) => boolean): Promise<LabRecord> =>
    poll('it is in force', async () => {
      const record = await callPod(lab)
      return holds(record) ? record : null
    })

  await t.test('one of ours: who calls the pod is diverted', async (t) => {
    await controller.configure(behindWaypoint('sidestep-waypoint'))
    const record = await until((each) => 'diverted_to' in each)
    t.match(record, { reason: 'OK', diverted_to: 'shop/wp-0' })
    t.match(waypoint.seen.at(-1), { authority: `${CART_IP}:9001`, caller: identity('front'), answer: 'OK' })
    const socket = lab.connect('front', CART_VIP, 91)
    await socket.until('the greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
    socket.destroy()
    t.match(waypoint.seen.at(-1), { authority: `${CART_VIP}:91`, peer: identity('front'), header: '' })
    t.same((await controller.admin('/findings')) as object, { mistakes: [], findings: [], refused: [] }) // as: an answer
  })

  await t.test('one of another class: who calls the pod is refused, by a policy', async (t) => {
    await controller.configure(behindWaypoint('istio-waypoint'))
    const record = await until(({ reason }) => reason === 'WAYPOINT_BYPASS')
    t.match(record, { policy: 'shop/sidestep_waypoint_only_shop_wp_undiverted' })
    t.notOk('diverted_to' in record)
  })

  await t.test('none: who calls the pod comes to it', async (t) => {
    await controller.configure(clusterYaml(PODS, []))
    const record = await until(({ reason }) => reason === 'OK')
    t.notOk('diverted_to' in record)
  })
})
