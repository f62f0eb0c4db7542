// SPDX-License-Identifier: Apache-2.0
// Edges on the wire: proto/sidestep/v1/edges.proto. What a node says is read as strictly as anything else that comes from
// outside.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  EdgeReportSchema,
  EdgeSchema,
  type Party,
  PartySchema,
  Edge_Reporter as Reporter,
  type Edge as WireEdge,
} from '../../proto/generated/sidestep/v1/edges_pb.js'
import { REASONS } from '../errors/reasons.ts'
import { type Refusal, refuse } from '../errors/refusal.ts'
import type { Edge, EdgeParty } from './edge.ts'

/** Path of the method. */
export const REPORT_EDGES = '/sidestep.v1.Edges/Report'
/** Edges of one report; a node with more sends them one report after another. */
export const MAX_REPORTED_EDGES = 1_000
/** Longest name or identity. */
const MAX_EDGE_TEXT_BYTES = 512

/** What one report says. */
export interface EdgeReport {
  readonly edges: readonly Edge[]
  /** Edges without room in it. */
  readonly omitted: number
}

export function encodeEdgeReport({ edges, omitted }: EdgeReport): Uint8Array {
  const wire = edges.map((edge) =>
    create(EdgeSchema, {
      reporter: edge.reporter === 'source' ? Reporter.SOURCE : Reporter.DESTINATION,
      ...(edge.source === null ? {} : { source: create(PartySchema, edge.source) }),
      ...(edge.destination === null ? {} : { destination: create(PartySchema, edge.destination) }),
      ...{ service: edge.service, plaintext: edge.isPlaintext, reason: edge.reason },
      ...{ opened: BigInt(edge.opened), failed: BigInt(edge.failed) },
      ...{ receivedBytes: BigInt(edge.receivedBytes), sentBytes: BigInt(edge.sentBytes) },
    }),
  )
  return toBinary(EdgeReportSchema, create(EdgeReportSchema, { edges: wire, omitted }))
}

/** The report, or REQUEST_INVALID: one edge that is wrong makes a report that is. */
export function decodeEdgeReport(bytes: Uint8Array): EdgeReport | Refusal {
  try {
    const { edges, omitted } = fromBinary(EdgeReportSchema, bytes)
    if (edges.length > MAX_REPORTED_EDGES) return refuse('REQUEST_INVALID', `${edges.length} edges`)
    return { edges: edges.map(readEdge), omitted }
  } catch (cause) {
    return refuse('REQUEST_INVALID', cause instanceof RangeError ? cause.message : 'no report of edges')
  }
}

/** @throws RangeError */
function readEdge(wire: WireEdge): Edge {
  if (wire.reporter !== Reporter.SOURCE && wire.reporter !== Reporter.DESTINATION)
    throw new RangeError('an edge of an unknown reporter')
  if (!Object.hasOwn(REASONS, wire.reason)) throw new RangeError('an edge with an unknown reason code')
  return {
    reporter: wire.reporter === Reporter.SOURCE ? 'source' : 'destination',
    source: readParty(wire.source),
    destination: readParty(wire.destination),
    service: readText(wire.service),
    isPlaintext: wire.plaintext,
    reason: wire.reason,
    opened: readCount(wire.opened),
    failed: readCount(wire.failed),
    receivedBytes: readCount(wire.receivedBytes),
    sentBytes: readCount(wire.sentBytes),
  }
}

function readParty(party: Party | undefined): EdgeParty | null {
  if (party === undefined) return null
  const [namespace, workload, identity] = [party.namespace, party.workload, party.identity].map(readText)
  return { namespace: namespace ?? '', workload: workload ?? '', identity: identity ?? '' }
}

/** Printable ASCII: names of Kubernetes and SPIFFE ids have nothing else, and a terminal obeys some of the rest. */
function readText(text: string): string {
  if (text.length > MAX_EDGE_TEXT_BYTES || !/^[\x21-\x7e]*$/.test(text))
    throw new RangeError('an edge with a name that is none')
  return text
}

function readCount(count: bigint): number {
  if (count > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError('an edge with a count that is none')
  return Number(count)
}
