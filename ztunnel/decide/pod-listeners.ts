// SPDX-License-Identifier: Apache-2.0
// Who listens in a pod, and who should and does not: the mesh's own listeners, the ports that services lead to, and whatever
// else the application has open. Pure.
import { isLoopback } from '../../mesh/net/address.ts'
import type { ListeningSocket } from '../../mesh/reactor/listening-sockets.ts'
import type { PodCount } from '../../mesh/telemetry/counters.ts'

/**
 * listens: at an address that others reach. loopback-only: not at one, so that only the pod itself is answered. silent:
 * nobody listens, whoever connects is refused.
 */
export type ListenerState = 'listens' | 'loopback-only' | 'silent'

/** A port of a pod. */
export interface PodListener {
  readonly port: number
  readonly owner: 'mesh' | 'application'
  /** Listeners of the mesh by their kind; services of which it is the port, `namespace/hostname:port`. */
  readonly names: readonly string[]
  readonly addresses: readonly string[]
  readonly state: ListenerState
  /** Connections that stand and that nobody has accepted: many of them, and the process hangs. */
  readonly waitingCount: number
}

/** What only the node of a pod can say of it, and only now. */
export interface PodActivity {
  /** By port; null: it could not be seen. */
  readonly listeners: readonly PodListener[] | null
  /** Since the data process began. */
  readonly counts: readonly PodCount[]
  /** Connections refused because of a limit, by limit, likewise. */
  readonly limited: Readonly<Record<string, number>>
}

/** Nothing is known. */
export const NO_ACTIVITY: PodActivity = { listeners: null, counts: [], limited: {} }

/** Ports that are told of one pod. */
const MAX_TOLD_LISTENERS = 200

/** What is expected of a pod. */
export interface ExpectedListeners {
  /** Of the mesh: port by kind. */
  readonly mesh: ReadonlyMap<string, number>
  /** As the model has them: target port by port, by `namespace/hostname`. */
  readonly services: Readonly<Record<string, Readonly<Record<number, number>>>>
  /** The namespace is the node's too: what else listens there is not the pod's. */
  readonly isShared: boolean
}

/** All ports, the mesh's first. */
export function podListeners(
  sockets: readonly ListeningSocket[],
  { mesh, services, isShared }: ExpectedListeners,
): readonly PodListener[] {
  const byPort = Map.groupBy(sockets, ({ port }) => port)
  const meshNames = new Map<number, string[]>()
  for (const [kind, port] of mesh) append(meshNames, port, kind)
  const serviceNames = new Map<number, string[]>()
  for (const [service, ports] of Object.entries(services))
    for (const [port, target] of Object.entries(ports)) append(serviceNames, target, `${service}:${port}`)
  const others = isShared ? [] : [...byPort.keys()].filter((port) => !meshNames.has(port))
  const ports = new Set([...serviceNames.keys(), ...others])
  const listener = (owner: PodListener['owner'], port: number, names: readonly string[]): PodListener => {
    const found = byPort.get(port) ?? []
    const addresses = found.map(({ ip }) => ip)
    const waitingCount = found.reduce((sum, each) => sum + each.waitingCount, 0)
    const isOwnOnly = owner === 'application' && addresses.every(isLoopback)
    const state = found.length === 0 ? 'silent' : isOwnOnly ? 'loopback-only' : 'listens'
    return { port, owner, names, addresses, state, waitingCount }
  }
  const byNumber = (left: number, right: number): number => left - right
  return [
    ...[...meshNames.keys()]
      .toSorted(byNumber)
      .map((port) => listener('mesh', port, meshNames.get(port) ?? [])),
    ...[...ports]
      .toSorted(byNumber)
      .map((port) => listener('application', port, serviceNames.get(port) ?? [])),
  ].slice(0, MAX_TOLD_LISTENERS)
}

/** How a port of a pod answers; null: that is not known. */
export function listenerState({ listeners }: PodActivity, port: number): ListenerState | null {
  const found = listeners?.find((each) => each.port === port)
  if (found !== undefined) return found.state
  return listeners === null || listeners.length >= MAX_TOLD_LISTENERS ? null : 'silent'
}

function append(names: Map<number, string[]>, port: number, name: string): void {
  const known = names.get(port)
  if (known === undefined) names.set(port, [name])
  else known.push(name)
}
