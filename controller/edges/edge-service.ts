// SPDX-License-Identifier: Apache-2.0
// Takes the reports of nodes. A report counts for the node that its caller is proven to be, whatever it says.
import { createHash } from 'node:crypto'
import { create, toBinary } from '@bufbuild/protobuf'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import type { CallMetadata, CallPeer, UnaryMethod } from '../../mesh/grpc/calls.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { TokenBucketOptions } from '../../mesh/runtime/token-bucket.ts'
import { decodeEdgeReport, REPORT_EDGES } from '../../mesh/telemetry/edge-report.ts'
import { EdgeReportAnswerSchema } from '../../proto/generated/sidestep/v1/edges_pb.js'
import { FAILURE_RATE, RateLimit } from '../ca/rate-limit.ts'
import type { EdgeStore } from './edge-store.ts'

/** Reports of one node: one in ten seconds is usual, some more after an outage. */
const REPORT_RATE: TokenBucketOptions = { capacity: 10, perSecond: 0.5 }
/** A token that was believed is for so long, here only: no apiserver is asked for every report. */
const BELIEVED_MS = 300_000
/** Tokens that are remembered. */
const MAX_BELIEVED = 8_192

export interface EdgeServiceOptions {
  /** Who calls; `node` null: not from a node. @throws MeshError when that is not known */
  readonly authenticate: (metadata: CallMetadata, peer: CallPeer) => Promise<{ readonly node: string | null }>
  readonly store: EdgeStore
  readonly clock: Clock
}

/** The method for a GrpcServer. */
export function edgeMethod({ authenticate, store, clock }: EdgeServiceOptions): UnaryMethod {
  const rate = new RateLimit(REPORT_RATE)
  const failureRate = new RateLimit(FAILURE_RATE)
  const believed = new BelievedTokens()
  const answer = Buffer.from(toBinary(EdgeReportAnswerSchema, create(EdgeReportAnswerSchema)))

  /** @throws MeshError */
  async function nodeOf(metadata: CallMetadata, peer: CallPeer): Promise<string> {
    const token = metadata.get('authorization')
    const known = token === undefined ? undefined : believed.nodeOf(token, clock.passedMs)
    if (known !== undefined) return known
    const address = peer.address.slice(0, Math.max(0, peer.address.lastIndexOf(':')))
    granted(failureRate.look(address, clock.passedMs))
    try {
      const { node } = await authenticate(metadata, peer)
      if (node === null) throw new MeshError('IDENTITY_REFUSED', { detail: 'only nodes report edges' })
      if (token !== undefined) believed.add(token, node, clock.passedMs)
      return node
    } catch (cause) {
      failureRate.take(address, clock.passedMs)
      throw cause
    }
  }

  return {
    kind: 'unary',
    path: REPORT_EDGES,
    handle: async ({ request, metadata, peer }) => {
      const node = await nodeOf(metadata, peer)
      granted(rate.take(node, clock.passedMs))
      store.add(node, granted(decodeEdgeReport(request)).edges)
      return answer
    },
  }
}

/** @throws MeshError */
function granted<T>(value: T | Refusal): T {
  if (isRefusal(value)) throw new MeshError(value.code, { detail: value.detail })
  return value
}

/** Whose tokens are believed for a while; kept as digests. */
class BelievedTokens {
  readonly #tokens = new Map<string, { readonly node: string; readonly untilMs: number }>()

  nodeOf(token: string, nowMs: number): string | undefined {
    const found = this.#tokens.get(digest(token))
    return found !== undefined && nowMs < found.untilMs ? found.node : undefined
  }

  add(token: string, node: string, nowMs: number): void {
    const key = digest(token)
    this.#tokens.delete(key)
    this.#tokens.set(key, { node, untilMs: nowMs + BELIEVED_MS })
    const [oldest] = this.#tokens.keys()
    if (this.#tokens.size > MAX_BELIEVED && oldest !== undefined) this.#tokens.delete(oldest)
  }
}

function digest(token: string): string {
  return createHash('sha256').update(token).digest('base64')
}
