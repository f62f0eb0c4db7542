// SPDX-License-Identifier: Apache-2.0
// PeerAuthentications: whether plaintext is accepted. On the wire STRICT is a DENY of whoever has no identity, exactly
// as SPEC HBONE §9.5. What cannot be read is strict.
import { create } from '@bufbuild/protobuf'
import { parsePort } from '../../mesh/net/address.ts'
import {
  Action,
  type Authorization,
  AuthorizationSchema,
  Scope,
} from '../../proto/generated/istio/authorization_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import type { RuleInit } from './authorization-rules.ts'
import { Fields } from './fields.ts'
import { Notes, quote } from './notes.ts'
import { CONVERTED_PEER_PREFIX, STATIC_STRICT_NAME, wireName } from './policy-names.ts'
import { readMatchLabels, type Selector } from './selectors.ts'
import type { ConfigFinding } from './translation.ts'

/** Fields of a PeerAuthentication. */
export const PEER_FIELDS = ['selector', 'mtls', 'portLevelMtls']
/** Of what says a mode. */
export const MTLS_FIELDS = ['mode']
const MODES = ['UNSET', 'STRICT', 'PERMISSIVE', 'DISABLE'] as const

/** UNSET inherits. */
export type PeerMode = 'UNSET' | 'STRICT' | 'PERMISSIVE'

/** One PeerAuthentication as it was read. */
export interface PeerPart {
  readonly object: ConfigObject
  /** null: its whole namespace, or the mesh. */
  readonly selector: Selector | null
  readonly mode: PeerMode
  readonly ports: ReadonlyMap<number, PeerMode>
  /** It was not understood, and is read as strict. */
  readonly isBroken: boolean
  readonly findings: readonly ConfigFinding[]
}

export function readPeer(object: ConfigObject): PeerPart {
  const notes = new Notes(object)
  const spec = new Fields(object.spec, 'spec', notes)
  spec.refuseUnknown(PEER_FIELDS)
  const selector = readMatchLabels(spec, 'selector')
  const mtls = spec.fields('mtls')
  const mode = readMode(mtls)
  const ports = new Map<number, PeerMode>()
  const portLevel = spec.fields('portLevelMtls')
  for (const key of portLevel.keys()) {
    const port = parsePort(key)
    if (port === undefined) {
      notes.add(
        'INVALID_VALUE',
        portLevel.pathOf(key),
        `${quote(key)} is no port`,
        'write a port of the workload',
      )
    } else ports.set(port, readMode(portLevel.fields(key)))
  }
  const findings = notes.findings
  // What was not understood might have been STRICT for something, or PERMISSIVE for less than was read.
  if (notes.errors > 0) {
    const known = selector === 'unreadable' ? null : selector
    return { object, selector: known, mode: 'STRICT', ports: new Map(), isBroken: true, findings }
  }
  const known = selector === 'unreadable' ? null : selector
  return { object, selector: known, mode, ports, isBroken: false, findings }
}

/** What a workload's PeerAuthentications come to. */
export interface PeerEffect {
  /** Names the static policy. */
  readonly isStrict: boolean
  /** Names the converted policy of this one. */
  readonly converted: PeerPart | null
}

/** SPEC HBONE §9.5: workload beats namespace beats mesh, UNSET inherits, ports are exceptions of the workload's. */
export function peerEffect(
  mesh: PeerPart | undefined,
  namespace: PeerPart | undefined,
  workload: PeerPart | undefined,
): PeerEffect {
  const isInheritedStrict = inheritedStrict(mesh, namespace)
  if (workload === undefined) return { isStrict: isInheritedStrict, converted: null }
  const isStrict = workload.mode === 'UNSET' ? isInheritedStrict : workload.mode === 'STRICT'
  const exception: PeerMode = isStrict ? 'PERMISSIVE' : 'STRICT'
  if (![...workload.ports.values()].includes(exception)) return { isStrict, converted: null }
  // The converted policy of a strict workload says "strict" itself.
  return { isStrict: false, converted: workload }
}

/** True when the mesh or the namespace makes a workload strict that says nothing itself. */
export function inheritedStrict(mesh: PeerPart | undefined, namespace: PeerPart | undefined): boolean {
  if (namespace !== undefined && namespace.mode !== 'UNSET') return namespace.mode === 'STRICT'
  return mesh?.mode === 'STRICT'
}

/** The policy for a workload's exceptions; null when it has none. */
export function convertPeer(peer: PeerPart, isInheritedStrict: boolean): Authorization | null {
  const isStrict = peer.mode === 'UNSET' ? isInheritedStrict : peer.mode === 'STRICT'
  const exceptions = [...peer.ports].filter(([, mode]) => mode === (isStrict ? 'PERMISSIVE' : 'STRICT'))
  const ports = exceptions.map(([port]) => port).toSorted((a, b) => a - b)
  if (ports.length === 0) return null
  const rules: RuleInit[] = isStrict
    ? [
        {
          clauses: [
            { matches: [{ notPrincipals: anyPrincipal() }] },
            ...ports.map((port) => ({ matches: [{ notDestinationPorts: [port] }] })),
          ],
        },
      ]
    : ports.map((port) => ({
        clauses: [{ matches: [{ notPrincipals: anyPrincipal(), destinationPorts: [port] }] }],
      }))
  const { name, namespace } = peer.object.metadata
  return denyOf(convertedName(name), namespace, rules)
}

export function convertedName(name: string): string {
  return `${CONVERTED_PEER_PREFIX}${wireName(name)}`
}

/** Whoever has no identity is refused. */
export function staticStrict(rootNamespace: string): Authorization {
  return denyOf(STATIC_STRICT_NAME, rootNamespace, [
    { clauses: [{ matches: [{ notPrincipals: anyPrincipal() }] }] },
  ])
}

function denyOf(name: string, namespace: string, rules: RuleInit[]): Authorization {
  return create(AuthorizationSchema, {
    name,
    namespace,
    scope: Scope.WORKLOAD_SELECTOR,
    action: Action.DENY,
    rules,
  })
}

const anyPrincipal = () => [{ matchType: { case: 'presence' as const, value: {} } }]

function readMode(mtls: Fields): PeerMode {
  mtls.refuseUnknown(MTLS_FIELDS)
  const mode = mtls.oneOf('mode', MODES, 'UNSET')
  if (mode !== 'DISABLE') return mode
  const message = 'encrypted connections cannot be refused; plaintext and encrypted ones are accepted'
  mtls.notes.add(
    'PEER_MODE_DISABLE',
    mtls.pathOf('mode'),
    message,
    'use PERMISSIVE, or take the pod out of the mesh',
  )
  return 'PERMISSIVE'
}
