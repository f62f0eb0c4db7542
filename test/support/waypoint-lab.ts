import type { Test } from 'tap'
import { TestAuthority, type TestCertificate } from './certificates.ts'
import { labDirectory } from './lab-directory.ts'
import { type LabPod, labMesh, MeshLab } from './mesh-lab.ts'
import { WaypointProcess } from './waypoint-process.ts'
import type { StandInOptions } from './waypoint-stand-in.ts'

export const CART_IP = '10.2.0.1'
export const CART_VIP = '10.96.0.10'
export const WAYPOINT_IP = '10.1.0.3'
export const WAYPOINT_HOST = 'wp.shop.svc.cluster.local'
const GUARD = 'shop/sidestep_waypoint_only_shop_wp'
export const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`

/** A mesh of MeshLab with a waypoint before the service cart, whose pod has the address `ip`; the pod batch is of no mesh. */
export function behindWaypoint(mesh: string, ip = WAYPOINT_IP): string {
  const reference = `waypoint: {destination: shop/${WAYPOINT_HOST}, hboneMtlsPort: 15008}`
  return mesh
    .replace(/- \{uid: batch,.*\n/, '')
    .replace(/(uid: cart,)/, `$1 authorizationPolicies: [${GUARD}],`)
    .replace(
      'workloads:\n',
      'workloads:\n- {uid: wp-0, name: wp-0, namespace: shop, serviceAccount: wp, trustDomain: cluster.local, ' +
        `workloadIps: ["${ip}"], node: n9, services: {"shop/${WAYPOINT_HOST}": {15008: 15008}}}\n`,
    )
    .replace(/(- \{name: cart, .*)\}\n/, `$1, ${reference}}\n`)
    .replace(
      'services:\n-',
      `services:\n- {name: wp, namespace: shop, hostname: ${WAYPOINT_HOST}, vips: ["/10.96.0.20"], ` +
        'ports: {15008: 15008}}\n-',
    )
}

/** The mesh of the lab; `policies` are lines of the list. */
export function waypointMesh(policies = ''): string {
  return behindWaypoint(labMesh([])).concat(policies)
}

/** Makes waypoints of a lab. */
export interface Waypoints {
  readonly certificateOf: (serviceAccount: string) => Promise<TestCertificate>
  /** Another one, when the last has stopped. */
  readonly startWaypoint: (changes?: Partial<StandInOptions>) => Promise<WaypointProcess>
}

/** They run in the namespace of `pod`, whose address is `ip`. */
export async function waypointsOf(t: Test, lab: MeshLab, pod: LabPod, ip: string): Promise<Waypoints> {
  const authority = await TestAuthority.load(await lab.rootPem())
  const certificateOf = (serviceAccount: string): Promise<TestCertificate> =>
    authority.sign({ trustDomain: 'cluster.local', namespace: 'shop', serviceAccount })
  const startWaypoint = async (changes: Partial<StandInOptions> = {}): Promise<WaypointProcess> => {
    const own = await certificateOf('wp')
    const waypoint = await WaypointProcess.start(lab.namespaceOf(pod), {
      ...{ ip, server: own, client: own, rootPem: authority.rootPem, denied: [] },
      routes: { [`${CART_VIP}:80`]: `${CART_IP}:8080`, [`${CART_VIP}:91`]: `${CART_IP}:9001` },
      behind: { [CART_IP]: identity('cart') },
      ...changes,
    })
    t.teardown(() => waypoint.stop())
    return waypoint
  }
  return { certificateOf, startWaypoint }
}

/** The lab and its waypoint. */
export interface WaypointLab extends Waypoints {
  readonly lab: MeshLab
}

/** Both nodes serve, no waypoint runs yet; all ends with the test. */
export async function startWaypointLab(t: Test): Promise<WaypointLab> {
  const lab = await MeshLab.start(labDirectory(t), waypointMesh(), {}, async (started) => {
    started.enrolled = { n1: ['front'], n2: ['cart'] }
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  return { lab, ...(await waypointsOf(t, lab, 'stranger', WAYPOINT_IP)) }
}
