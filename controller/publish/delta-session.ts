// SPDX-License-Identifier: Apache-2.0
// One client's delta stream as a state machine: requests in, responses out, no I/O and no clock. Of each type one
// response is under way at a time, so that a slow client costs nothing: what changes meanwhile is told together.
// SPEC XDS §1.5.

import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/discovery/protocol.ts'
import type { DeltaDiscoveryRequest } from '../../proto/generated/envoy/discovery_pb.js'
import type { PublishedResource } from './resource-log.ts'
import type { Answer, Subscription } from './subscription.ts'

/** A response, not yet encoded. */
export interface SessionResponse {
  readonly typeUrl: string
  readonly nonce: string
  readonly answers: readonly Answer[]
  readonly removed: readonly string[]
}

/** A resource that a client would not take. */
export interface Refusal {
  readonly typeUrl: string
  /** '' when the client's message names none of what it was sent. */
  readonly name: string
  readonly message: string
}

/** What a session works with. */
export interface SessionSource {
  /** null: a type that is not published here. */
  subscribe(typeUrl: string, first: DeltaDiscoveryRequest): Subscription | null
  /** False as long as it is not known what there is: then nothing is answered, least of all that there is nothing. */
  isReady(typeUrl: string): boolean
  /** What is sent instead to a client that refused a resource and has none; null: nothing. */
  instead(typeUrl: string, name: string): PublishedResource | null
  onRefused(refusal: Refusal): void
}

/** State of one type, for people. */
export interface TypeStatus {
  readonly typeUrl: string
  readonly held: number
  readonly sentNonce: string
  readonly acknowledgedNonce: string
  readonly refusals: number
}

interface TypeState {
  readonly subscription: Subscription | null
  /** Sent and not yet answered. */
  pending: { readonly nonce: string; readonly names: readonly string[] } | null
  /** The client waits for an answer, even an empty one. */
  owesAnswer: boolean
  sentNonce: string
  acknowledgedNonce: string
  refusals: number
}

/** Types one client may ask for, unknown ones included. */
const MAX_TYPES = 16
/** Of what a client says when it refuses: longer ones are cut. */
const MAX_MESSAGE_LENGTH = 4096

/** What a stream ends with that cannot go on. */
export type SessionEnd = 'too-many-types' | 'too-many-names' | 'start-over'

/** Names one client may ask for. */
export const MAX_SUBSCRIBED_NAMES = 100_000

export class DeltaSession {
  readonly #source: SessionSource
  readonly #types = new Map<string, TypeState>()
  #nonce = 0
  #nameCount = 0
  /** Set: the stream must end. */
  end: SessionEnd | null = null

  constructor(source: SessionSource) {
    this.#source = source
  }

  /** Takes a request; ask next() afterwards. */
  onRequest(request: DeltaDiscoveryRequest): void {
    const { typeUrl } = request
    const known = this.#types.get(typeUrl)
    const state = known ?? this.#begin(request)
    if (state === null) return
    if (known !== undefined) this.#changeNames(state, request)
    const { pending } = state
    // SPEC XDS §1.5: an answer to anything but the response under way is stale and means nothing.
    if (pending === null || request.responseNonce !== pending.nonce) return
    state.pending = null
    if (request.errorDetail === undefined) state.acknowledgedNonce = pending.nonce
    else this.#onRefused(state, typeUrl, pending.names, request.errorDetail.message)
  }

  #begin(request: DeltaDiscoveryRequest): TypeState | null {
    if (this.#types.size >= MAX_TYPES) {
      this.end = 'too-many-types'
      return null
    }
    this.#countNames(request)
    const state: TypeState = {
      subscription: this.#source.subscribe(request.typeUrl, request),
      pending: null,
      owesAnswer: true,
      sentNonce: '',
      acknowledgedNonce: '',
      refusals: 0,
    }
    this.#types.set(request.typeUrl, state)
    return state
  }

  #changeNames({ subscription }: TypeState, request: DeltaDiscoveryRequest): void {
    this.#countNames(request)
    if (this.end !== null) return
    if (request.resourceNamesSubscribe.length > 0) subscription?.subscribe(request.resourceNamesSubscribe)
    if (request.resourceNamesUnsubscribe.length > 0)
      subscription?.unsubscribe(request.resourceNamesUnsubscribe)
  }

  #countNames({ resourceNamesSubscribe, resourceNamesUnsubscribe }: DeltaDiscoveryRequest): void {
    this.#nameCount += resourceNamesSubscribe.length - resourceNamesUnsubscribe.length
    if (this.#nameCount < 0) this.#nameCount = 0
    if (this.#nameCount > MAX_SUBSCRIBED_NAMES) this.end = 'too-many-names'
  }

  /** `<name>: <reason>; <name>: <reason>`; only names that were sent count, whatever else the message says. */
  #onRefused(state: TypeState, typeUrl: string, names: readonly string[], text: string): void {
    state.refusals++
    // SPEC XDS §0.1: a client is ready only once a response was taken without refusal. One that refuses a response without
    // resources would refuse for ever.
    state.owesAnswer = names.length > 0
    const message = text.slice(0, MAX_MESSAGE_LENGTH)
    const refused = names.filter((name) => message.startsWith(`${name}: `) || message.includes(`; ${name}: `))
    for (const name of refused) {
      state.subscription?.refuse(name, () => this.#source.instead(typeUrl, name))
      this.#source.onRefused({ typeUrl, name, message })
    }
    if (refused.length === 0) this.#source.onRefused({ typeUrl, name: '', message })
  }

  /** The next response, or null when the client has to answer first or lacks nothing. Call until null. */
  next(): SessionResponse | null {
    // A policy before the workloads that name it: a workload with a name that is not known yet would be open to all.
    return (
      this.#respond(AUTHORIZATION_TYPE) ??
      this.#respondOther() ??
      this.#respond(ADDRESS_TYPE) ??
      // What was behind in workloads may come to nothing: policies that had to wait for it go now, or nobody asks again.
      this.#respond(AUTHORIZATION_TYPE)
    )
  }

  #respondOther(): SessionResponse | null {
    for (const typeUrl of this.#types.keys()) {
      if (typeUrl === AUTHORIZATION_TYPE || typeUrl === ADDRESS_TYPE) continue
      const response = this.#respond(typeUrl)
      if (response !== null) return response
    }
    return null
  }

  #respond(typeUrl: string): SessionResponse | null {
    const state = this.#types.get(typeUrl)
    if (state === undefined || state.pending !== null || this.end !== null) return null
    if (!this.#source.isReady(typeUrl)) return null
    const { subscription } = state
    // A policy goes after the workloads that named it, as it came before them.
    const withholds = typeUrl === AUTHORIZATION_TYPE && this.#isUnsettled(ADDRESS_TYPE)
    const owesRemovals = subscription?.owesRemovals === true && !withholds
    if (!state.owesAnswer && !owesRemovals && subscription?.isBehind() !== true) return null
    if (typeUrl === ADDRESS_TYPE && this.#isUnsettled(AUTHORIZATION_TYPE)) return null
    const outgoing = subscription === null ? { answers: [], removed: [] } : subscription.take(withholds)
    if (outgoing === null) {
      this.end = 'start-over'
      return null
    }
    const isEmpty = outgoing.answers.length === 0 && outgoing.removed.length === 0
    if (isEmpty && !state.owesAnswer) return null
    const nonce = String(++this.#nonce)
    state.owesAnswer = false
    state.sentNonce = nonce
    state.pending = { nonce, names: outgoing.answers.map(({ name }) => name) }
    return { typeUrl, nonce, ...outgoing }
  }

  /** A subscribed type that is under way or behind. */
  #isUnsettled(typeUrl: string): boolean {
    const state = this.#types.get(typeUrl)
    return state !== undefined && (state.pending !== null || state.subscription?.isBehind() === true)
  }

  /** True while an answer of the client is awaited. */
  get isWaiting(): boolean {
    for (const { pending } of this.#types.values()) if (pending !== null) return true
    return false
  }

  status(): readonly TypeStatus[] {
    return [...this.#types].map(([typeUrl, { subscription, sentNonce, acknowledgedNonce, refusals }]) => ({
      typeUrl,
      held: subscription?.heldCount ?? 0,
      sentNonce,
      acknowledgedNonce,
      refusals,
    }))
  }
}
