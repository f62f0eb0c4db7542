// SPDX-License-Identifier: Apache-2.0
// Nodes on paper: what the admin API would answer from a mesh written as text, as a fleet that commands can ask.
import { X509Certificate } from 'node:crypto'
import type { Fleet, FleetNode } from '../../cli/fleet/fleet.ts'
import { plainFleet } from '../../cli/fleet/fleet.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { DumpedIdentity } from '../../mesh/identity/certificate-view.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import { inboundFacts } from '../../ztunnel/decide/inbound-facts.ts'
import type { NodeView } from '../../ztunnel/decide/node-view.ts'
import { outboundFacts } from '../../ztunnel/decide/outbound-facts.ts'
import { podFacts } from '../../ztunnel/decide/pod-facts.ts'
import { NO_ACTIVITY } from '../../ztunnel/decide/pod-listeners.ts'
import type { TestAuthority, TestCertificateOptions } from './certificates.ts'
import { meshOf, workload } from './mesh.ts'

/** The clock of every node on paper, epoch ms. */
export const NOW_MS = Date.parse('2026-11-01T12:00:00Z')
const HOST = 'cart.shop.svc.cluster.local'

/**
 * front and batch on n1, cart on n2; `policies` are lines of the list, `more` are further lines of workloads. `waypoint`:
 * the host name of one before the service cart, which wp-0 is of.
 */
export function shopMesh({ policies = '', services = '', more = '', waypoint = '' } = {}): string {
  const guard = waypoint === '' ? '' : ', authorizationPolicies: [shop/sidestep_waypoint_only_shop_wp]'
  const named = waypoint === '' ? '' : `, waypoint: {destination: shop/${waypoint}, hboneMtlsPort: 15008}`
  return `
workloads:
- ${workload('front', '10.1.0.1', 'node: n1')}
- ${workload('batch', '10.1.0.2', 'node: n1')}
- ${workload('cart', '10.2.0.1', `node: n2, services: {shop/${HOST}: {80: 8080}}${guard}`)}
- ${workload('wp-0', '10.2.3.1', 'node: n2, services: {shop/wp.shop: {}}')}
- ${workload('legacy', '10.2.0.2', 'node: n2, protocol: TCP')}
${more}
services:
- {name: cart, namespace: shop, hostname: ${HOST}, vips: ["/10.96.0.10"], ports: {80: 8080}${named}}
- {name: wp, namespace: shop, hostname: wp.shop, vips: ["/10.96.0.20"], ports: {15008: 15008}}
${services}
policies: ${policies === '' ? '[]' : `\n${policies}`}
`
}

/** What a node has of an identity; without a certificate when there is no authority. */
export async function dumpedIdentity(
  authority: TestAuthority | null,
  identity: string,
  options: TestCertificateOptions = {},
): Promise<DumpedIdentity> {
  const id = parseSpiffeId(identity)
  if (isRefusal(id)) throw new Error(identity)
  const none = { renewalFailures: 0, lastFailure: '', failingSince: null, certChain: [], rootCerts: [] }
  if (authority === null) return { ...none, identity, state: 'Initializing' }
  const dumped = (pem: string): DumpedIdentity['certChain'][number] => {
    const { validFromDate, validToDate, serialNumber } = new X509Certificate(pem)
    return {
      pem: Buffer.from(pem).toString('base64'),
      serialNumber,
      validFrom: validFromDate.toISOString(),
      expirationTime: validToDate.toISOString(),
    }
  }
  const { certificatePem } = await authority.sign(id, options)
  const chains = { certChain: [dumped(certificatePem)], rootCerts: [dumped(authority.rootPem)] }
  return { ...none, identity, state: 'Available', ...chains }
}

/** Certificates of both callers and of cart, by identity. */
export async function shopCertificates(authority: TestAuthority): Promise<Map<string, DumpedIdentity>> {
  const names = ['front', 'batch', 'cart']
  const identities = names.map((name) => `spiffe://cluster.local/ns/shop/sa/${name}-sa`)
  return new Map(
    await Promise.all(identities.map(async (each) => [each, await dumpedIdentity(authority, each)] as const)),
  )
}

/** A node of the shop that is well informed; `changes` replace what is said of it. */
export function nodeView(node: 'n1' | 'n2', mesh: string, changes: Partial<NodeView> = {}): NodeView {
  const pod = (name: string) => ({ uid: `u-${name}`, name, namespace: 'shop', serviceAccount: `${name}-sa` })
  const records = changes.records ?? []
  return {
    ...{
      node,
      network: '',
      clusterDomain: 'cluster.local',
      trustDomain: 'cluster.local',
      isSocks5Enabled: false,
    },
    nowMs: NOW_MS,
    state: meshOf(mesh),
    pods: node === 'n1' ? [pod('front'), pod('batch')] : [pod('cart')],
    source: { kind: 'controller', isConnected: true, address: 'c:15012', lastFailure: '' },
    ...{
      findings: [],
      pending: [],
      isDraining: false,
      mendedMs: {},
      dnsFailures: {},
      records,
      eventsOf: () => records,
    },
    activityOf: () => NO_ACTIVITY,
    certificateOf: () => undefined,
    ...changes,
  }
}

/** A node that answers from its view. */
export function paperNode(view: NodeView): FleetNode {
  return {
    label: view.node,
    name: async () => view.node,
    read: async (path) => {
      throw new Error(`nobody wrote ${path}`)
    },
    stream: (path) => {
      throw new Error(`nobody wrote ${path}`)
    },
    post: async (path) => {
      throw new Error(`nobody does ${path}`)
    },
    outbound: async (asked) => outboundFacts(view, asked),
    inbound: async (asked) => inboundFacts(view, asked),
    pod: async (name) => podFacts(view, name),
  }
}

/** A fleet of such nodes. */
export function paperFleet(...views: readonly NodeView[]): Fleet {
  return plainFleet(views.map(paperNode))
}

/** A record line as nodes write it. */
export function recordLine(fields: Readonly<Record<string, string | number>>): string {
  return JSON.stringify({
    time: new Date(NOW_MS - 10_000).toISOString(),
    msg: 'connection complete',
    ...fields,
  })
}
