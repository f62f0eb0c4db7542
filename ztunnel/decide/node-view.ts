// SPDX-License-Identifier: Apache-2.0
// A node as somebody who looks for the cause of a failure sees it: its model, its pods, its certificates, how fresh all of
// that is, what its last connections came to. Of a running process or of a dump: the same questions, the same answers. Pure.

import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { PodInfo } from '../../mesh/generations/pods.ts'
import type { DumpedIdentity } from '../../mesh/identity/certificate-view.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { identityOf, type Workload } from '../../mesh/model/workload.ts'
import type { DnsFailure } from '../dns-failures.ts'
import type { PodActivity } from './pod-listeners.ts'

/** What is known of a node. */
export interface NodeView {
  readonly node: string
  readonly network: string
  readonly clusterDomain: string
  readonly trustDomain: string
  readonly isSocks5Enabled: boolean
  /** The node's own clock, epoch ms. */
  readonly nowMs: number
  /** Null before the first configuration. */
  readonly state: MeshState | null
  /** The pods it serves. */
  readonly pods: readonly PodInfo[]
  /** ModelSource.status() with its findings. */
  readonly source: Readonly<Record<string, unknown>>
  readonly findings: readonly string[]
  /** What readiness waits for. */
  readonly pending: readonly string[]
  readonly isDraining: boolean
  /** When the redirection of a pod, by its uid, was last found damaged and mended, epoch ms. */
  readonly mendedMs: Readonly<Record<string, number>>
  /** Pods, by uid, whose resolver did not answer when it was last asked. */
  readonly dnsFailures: Readonly<Record<string, DnsFailure>>
  /** The last connection records, oldest first, one line of JSON each. */
  readonly records: readonly string[]
  /** What happened lately to a pod, oldest first: such records, and lines of the same form about the pod itself. */
  eventsOf(pod: PodInfo): readonly string[]
  /** What it does now. Looked at when it is called, which takes a moment. */
  activityOf(pod: PodInfo): PodActivity
  /** The certificate of an identity; undefined: the node has none to have. */
  certificateOf(identity: string): DumpedIdentity | undefined
}

/** How well a node is informed. `nowMs` is its own clock, epoch ms. */
export interface NodeHealth {
  readonly node: string
  readonly nowMs: number
  readonly trustDomain: string
  readonly hasModel: boolean
  readonly source: 'controller' | 'file'
  /** False: a controller is configured and there is no stream to it now. A file is always connected. */
  readonly isConnected: boolean
  readonly controller: string
  /** 0 while it is connected, or is not known. */
  readonly disconnectedSeconds: number
  readonly lastFailure: string
  /** The configuration in force was saved so long ago; null: it is not a saved one. */
  readonly snapshotAgeSeconds: number | null
  readonly findings: readonly string[]
  readonly pending: readonly string[]
  readonly isDraining: boolean
}

/** Somebody of the mesh. */
export interface PartyFacts {
  /** `namespace/name`, an address when nothing else is known. */
  readonly name: string
  readonly uid: string
  readonly identity: string
  readonly ips: readonly string[]
  readonly protocol: 'HBONE' | 'TCP'
  readonly node: string
}

/** What a node asks of a certificate; PEM texts are public. */
export interface IdentityFacts {
  readonly identity: string
  /** As DumpedIdentity has it. */
  readonly state: string
  readonly lastFailure: string
  readonly renewalFailures: number
  /** RFC 3339; '' without a certificate. */
  readonly validFrom: string
  readonly expirationTime: string
  /** Leaf first. */
  readonly chainPem: readonly string[]
  readonly rootsPem: readonly string[]
}

/** Findings of one node at most: one mistake in a generator makes thousands. */
const MAX_SHOWN_FINDINGS = 20

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const seconds = (value: unknown): number | null => (typeof value === 'number' ? value : null)

/** How well the node is informed. */
export function healthOf(view: NodeView): NodeHealth {
  const { node, nowMs, trustDomain, source, findings, pending, isDraining } = view
  const isController = source.kind === 'controller'
  return {
    ...{ node, nowMs, trustDomain, pending, isDraining },
    hasModel: view.state !== null,
    source: isController ? 'controller' : 'file',
    isConnected: !isController || source.isConnected === true,
    controller: text(source.address),
    disconnectedSeconds: seconds(source.disconnectedSeconds) ?? 0,
    lastFailure: text(source.lastFailure),
    snapshotAgeSeconds: seconds(source.snapshotAgeSeconds),
    findings: findings.slice(0, MAX_SHOWN_FINDINGS),
  }
}

/** The facts of a workload. */
export function partyOf(workload: Workload): PartyFacts {
  const { namespace, name, uid, workloadIps, protocol, node } = workload
  const identity = identityOf(workload)
  return {
    ...{ uid, protocol, node, ips: workloadIps },
    name: name === '' ? (workloadIps[0] ?? uid) : `${namespace}/${name}`,
    identity: isRefusal(parseSpiffeId(identity)) ? '' : identity,
  }
}

/** The pod of a workload, when this node serves it. */
export function servedPod(view: NodeView, workload: Workload): PodInfo | undefined {
  return view.pods.find(
    ({ namespace, name, serviceAccount }) =>
      namespace === workload.namespace &&
      name === workload.name &&
      serviceAccount === workload.serviceAccount,
  )
}

/** Null: the node does not keep a certificate of that identity. */
export function identityFacts(view: NodeView, identity: string): IdentityFacts | null {
  const dumped = view.certificateOf(identity)
  if (dumped === undefined) return null
  const { state, lastFailure, renewalFailures, certChain, rootCerts } = dumped
  const [leaf] = certChain
  const pem = (each: { readonly pem: string }): string => Buffer.from(each.pem, 'base64').toString('latin1')
  return {
    ...{ identity, state, lastFailure, renewalFailures },
    validFrom: leaf?.validFrom ?? '',
    expirationTime: leaf?.expirationTime ?? '',
    chainPem: certChain.map(pem),
    rootsPem: rootCerts.map(pem),
  }
}
