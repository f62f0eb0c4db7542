// SPDX-License-Identifier: Apache-2.0
// MeshLab with a waypoint before the service cart: its pod is the stranger, which no ztunnel serves. front is of the mesh,
// batch is a plain pod.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { TestAuthority, type TestCertificate } from './certificates.ts'
import { labMesh, MeshLab } from './mesh-lab.ts'
import { WaypointProcess } from './waypoint-process.ts'
import type { StandInOptions } from './waypoint-stand-in.ts'

export const CART_IP = '10.2.0.1'
export const CART_VIP = '10.96.0.10'
export const WAYPOINT_IP = '10.1.0.3'
export const WAYPOINT_HOST = 'wp.shop.svc.cluster.local'
const GUARD = 'shop/sidestep_waypoint_only_shop_wp'
export const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`

/** The mesh of the lab; `policies` are lines of the list. */
export function waypointMesh(policies = ''): string {
  const host = `${WAYPOINT_HOST}`
  return labMesh([])
    .replace(/- \{uid: batch,.*\n/, '')
    .replace(/(uid: cart,)/, `$1 authorizationPolicies: [${GUARD}],`)
    .replace(
      'workloads:\n',
      'workloads:\n- {uid: wp-0, name: wp-0, namespace: shop, serviceAccount: wp, trustDomain: cluster.local, ' +
        `workloadIps: ["${WAYPOINT_IP}"], node: n9, services: {"shop/${host}": {15008: 15008}}}\n`,
    )
    .replace(
      'ports: {80: 8080}}',
      `ports: {80: 8080}, waypoint: {destination: shop/${host}, hboneMtlsPort: 15008}}`,
    )
    .replace(
      'services:\n-',
      `services:\n- {name: wp, namespace: shop, hostname: ${host}, vips: ["/10.96.0.20"], ports: {15008: 15008}}\n-`,
    )
    .concat(policies)
}

/** The lab and its waypoint. */
export interface WaypointLab {
  readonly lab: MeshLab
  readonly certificateOf: (serviceAccount: string) => Promise<TestCertificate>
  /** Another one, when the last has stopped. */
  readonly startWaypoint: (changes?: Partial<StandInOptions>) => Promise<WaypointProcess>
}

/** Both nodes serve, no waypoint runs yet; all ends with the test. */
export async function startWaypointLab(t: Test): Promise<WaypointLab> {
  const lab = await MeshLab.start(t.testdir({}), waypointMesh(), {}, async (started) => {
    started.enrolled = { n1: ['front'], n2: ['cart'] }
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  const authority = await TestAuthority.load(readFileSync(join(lab.directory, 'ca', 'root.pem'), 'utf8'))
  const certificateOf = (serviceAccount: string): Promise<TestCertificate> =>
    authority.sign({ trustDomain: 'cluster.local', namespace: 'shop', serviceAccount })
  const startWaypoint = async (changes: Partial<StandInOptions> = {}): Promise<WaypointProcess> => {
    const own = await certificateOf('wp')
    const waypoint = await WaypointProcess.start(lab.namespaceOf('stranger'), {
      ...{ ip: WAYPOINT_IP, server: own, client: own, rootPem: authority.rootPem, denied: [] },
      routes: { [`${CART_VIP}:80`]: `${CART_IP}:8080` },
      behind: { [CART_IP]: identity('cart') },
      ...changes,
    })
    t.teardown(() => waypoint.stop())
    return waypoint
  }
  return { lab, certificateOf, startWaypoint }
}
