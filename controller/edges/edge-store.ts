// SPDX-License-Identifier: Apache-2.0
// Who talks to whom, as the nodes that report to this replica say. Bounded: what was heard of longest ago goes first.
import type { Clock } from '../../mesh/runtime/clock.ts'
import { addCounts, type Edge, edgeKey, NO_COUNTS } from '../../mesh/telemetry/edge.ts'

/** Edges that are kept. */
export const MAX_EDGES = 20_000
/** An edge that nobody has reported for so long is forgotten. */
export const EDGE_RETENTION_MS = 86_400_000

/** An edge and when it was heard of. */
export interface KeptEdge extends Edge {
  /** The node that has reported it; a node is believed about its own pods only as far as it is known who it is. */
  readonly node: string
  /** Epoch ms. */
  readonly firstMs: number
  readonly lastMs: number
}

export class EdgeStore {
  readonly #clock: Clock
  readonly #maxEdges: number
  /** The ones that were heard of last are at the end. */
  readonly #edges = new Map<string, KeptEdge>()
  /** Edges that were forgotten to make room. */
  droppedCount = 0

  constructor(clock: Clock, maxEdges = MAX_EDGES) {
    this.#clock = clock
    this.#maxEdges = maxEdges
  }

  /** Adds what a node has counted since its last report. */
  add(node: string, edges: readonly Edge[]): void {
    const { nowMs } = this.#clock
    for (const edge of edges) {
      const key = `${node}|${edgeKey(edge)}`
      const before = this.#edges.get(key)
      this.#edges.delete(key)
      const counts = addCounts(before ?? NO_COUNTS, edge)
      this.#edges.set(key, { ...edge, ...counts, node, firstMs: before?.firstMs ?? nowMs, lastMs: nowMs })
    }
    for (const [key, { lastMs }] of this.#edges) {
      const isExpired = nowMs - lastMs >= EDGE_RETENTION_MS
      if (!isExpired && this.#edges.size <= this.#maxEdges) break
      if (!isExpired) this.droppedCount++
      this.#edges.delete(key)
    }
  }

  /** Those with a party, or a service, of this namespace; all where it is ''. */
  list(namespace = ''): readonly KeptEdge[] {
    const { nowMs } = this.#clock
    return [...this.#edges.values()].filter(
      ({ source, destination, lastMs }) =>
        nowMs - lastMs < EDGE_RETENTION_MS &&
        (namespace === '' || source?.namespace === namespace || destination?.namespace === namespace),
    )
  }

  get size(): number {
    return this.#edges.size
  }
}
