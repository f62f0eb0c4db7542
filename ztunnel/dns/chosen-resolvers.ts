// SPDX-License-Identifier: Apache-2.0
// Whom a pod's redirected question was for: asked of the kernel's connection table, and remembered for a moment, because
// resolvers are asked for A and AAAA from one port.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { DNS_PORT } from '../../mesh/net/mesh-ports.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'

/** Less than the kernel keeps a silent flow (30 s): until then the port stands for no other flow. */
const REMEMBER_MS = 2000
/** Flows remembered per pod and worker. */
const MAX_FLOWS = 1024

/** As much of ConnectionTable as is needed here. */
export interface FlowTable {
  originalDestination(local: SocketAddress, peer: SocketAddress): SocketAddress | Refusal
  close(): void
}

interface Flow {
  /** Of the pod: it may have several addresses. */
  readonly ip: string
  readonly resolver: SocketAddress
  readonly untilMs: number
}

/** The resolvers of one pod. Owns the table it opens. */
export class ChosenResolvers {
  readonly #open: () => FlowTable | Refusal
  /** By the port that asks. */
  readonly #flows = new Map<number, Flow>()
  #table: FlowTable | null = null

  /** `open` is called with the first question. */
  constructor(open: () => FlowTable | Refusal) {
    this.#open = open
  }

  /** Whom the datagram from `peer`, which arrived at `local`, was for. */
  of(local: SocketAddress, peer: SocketAddress, nowMs: number): SocketAddress | Refusal {
    const { ip, port } = peer
    const flow = this.#flows.get(port)
    if (flow !== undefined && flow.ip === ip && flow.untilMs > nowMs) return flow.resolver
    if (flow !== undefined) this.#flows.delete(port)
    const resolver = this.#ask(local, peer)
    if (isRefusal(resolver)) return resolver
    if (this.#flows.size >= MAX_FLOWS) {
      const oldest = this.#flows.keys().next().value
      if (oldest !== undefined) this.#flows.delete(oldest)
    }
    this.#flows.set(port, { ip, resolver, untilMs: nowMs + REMEMBER_MS })
    return resolver
  }

  #ask(local: SocketAddress, peer: SocketAddress): SocketAddress | Refusal {
    if (this.#table === null) {
      const table = this.#open()
      if (isRefusal(table)) return table
      this.#table = table
    }
    const found = this.#table.originalDestination(local, peer)
    if (isRefusal(found))
      return found.code === 'NETLINK' ? refuse('DNS_RESOLVER_UNKNOWN', found.detail) : found
    return found.port === DNS_PORT ? askedItself() : found
  }

  close(): void {
    this.#table?.close()
    this.#table = null
    this.#flows.clear()
  }
}

/** The question was sent to the mesh's own port: there is nobody to hand it on to. */
export function askedItself(): Refusal {
  return refuse('DNS_RESOLVER_UNKNOWN', `sent to port ${DNS_PORT} itself`)
}
