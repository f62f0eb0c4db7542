// SPDX-License-Identifier: Apache-2.0
// All that was learnt of a pair, and what is made of it. Types only.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import type { InboundFacts } from '../../ztunnel/decide/inbound-facts.ts'
import type { OutboundFacts, PairAsked, PairWay } from '../../ztunnel/decide/outbound-facts.ts'

/** One way, and what the node at its end says. */
export interface AnsweredWay {
  readonly way: PairWay
  /** Null: there is nobody to ask, or it did not answer. */
  readonly inbound: InboundFacts | null
}

/** What the nodes said. */
export interface PairFacts {
  readonly asked: PairAsked
  /** Null: no node knows the caller. */
  readonly outbound: OutboundFacts | null
  /** The node that the model names as the caller's has answered. */
  readonly isSourceNodeHeard: boolean
  readonly ways: readonly AnsweredWay[]
  /** Who should have been asked and did not answer, one sentence each. */
  readonly silent: readonly string[]
}

/**
 * Where on its way a connection is stopped. source: the calling pod, its node, its certificate. name: what DNS makes of the
 * destination. discovery: what nodes know. network: between the nodes. waypoint. destination: its node, its policies, its
 * certificate. application: behind all that.
 */
export type PairHop = 'source' | 'name' | 'discovery' | 'network' | 'waypoint' | 'destination' | 'application'

/** Something that is not as it should be. */
export interface PairFinding {
  readonly code: ReasonCode
  readonly hop: PairHop
  /** Node, workload or address it is about. */
  readonly where: string
  readonly detail: string
  readonly fix: string
  /** `namespace/name`; '' when no policy decided. */
  readonly policy: string
}

/**
 * allowed: inside mTLS. plain: carried in plain text. refused: the configuration as it is lets nothing through. failing: it
 * would, and the last attempts did not succeed. unknown: nobody knows the caller.
 */
export type PairOutcome = 'allowed' | 'plain' | 'refused' | 'failing' | 'unknown'

/** The answer. */
export interface PairVerdict {
  readonly outcome: PairOutcome
  readonly code: ReasonCode
  readonly source: string
  readonly destination: string
  /** Where it goes, one sentence; '' when nowhere. */
  readonly way: string
  /** The policy that decided; '' by default. */
  readonly policy: string
  /** Why it is let through or not, one sentence. */
  readonly reason: string
  /** What stops it; null when nothing does. */
  readonly cause: PairFinding | null
  /** What does not stop it now. */
  readonly risks: readonly PairFinding[]
  readonly silent: readonly string[]
}
