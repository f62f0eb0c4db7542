// SPDX-License-Identifier: Apache-2.0
// An edge of the mesh: who calls whom, how, and how it ends. Sums over connections, for questions about the mesh as a
// whole; a single connection has its record.
import type { LabelledWorkload } from './traffic-labels.ts'

/** A workload as people name it. */
export interface EdgeParty {
  readonly namespace: string
  readonly workload: string
  /** SPIFFE id. */
  readonly identity: string
}

/** What makes two connections the same edge. */
export interface EdgeLabels {
  readonly reporter: 'source' | 'destination'
  /** Null: nobody knows who that is. */
  readonly source: EdgeParty | null
  readonly destination: EdgeParty | null
  /** Host of the service that was called; '' for a call of an address. */
  readonly service: string
  /** Nothing proved who the caller is. */
  readonly isPlaintext: boolean
  /** Reason code of the end; OK as long as nothing is wrong. */
  readonly reason: string
}

/** What is counted of an edge. */
export interface EdgeCounts {
  readonly opened: number
  readonly failed: number
  readonly receivedBytes: number
  readonly sentBytes: number
}

/** An edge with what has been counted of it. */
export interface Edge extends EdgeLabels, EdgeCounts {}

export const NO_COUNTS: EdgeCounts = { opened: 0, failed: 0, receivedBytes: 0, sentBytes: 0 }

export function edgeParty(workload: LabelledWorkload | null): EdgeParty | null {
  if (workload === null) return null
  const { namespace, identity, workloadName, name } = workload
  return { namespace, workload: workloadName || name, identity }
}

/** Equal for equal labels. */
export function edgeKey({ reporter, source, destination, service, isPlaintext, reason }: EdgeLabels): string {
  const party = (each: EdgeParty | null): unknown =>
    each === null ? null : [each.namespace, each.workload, each.identity]
  return JSON.stringify([reporter, party(source), party(destination), service, isPlaintext, reason])
}

/** What came since; counts never go back. */
export function countsSince(now: EdgeCounts, before: EdgeCounts): EdgeCounts {
  return {
    opened: now.opened - before.opened,
    failed: now.failed - before.failed,
    receivedBytes: now.receivedBytes - before.receivedBytes,
    sentBytes: now.sentBytes - before.sentBytes,
  }
}

export function addCounts(left: EdgeCounts, right: EdgeCounts): EdgeCounts {
  return {
    opened: left.opened + right.opened,
    failed: left.failed + right.failed,
    receivedBytes: left.receivedBytes + right.receivedBytes,
    sentBytes: left.sentBytes + right.sentBytes,
  }
}

export function isNothing({ opened, failed, receivedBytes, sentBytes }: EdgeCounts): boolean {
  return opened === 0 && failed === 0 && receivedBytes === 0 && sentBytes === 0
}
