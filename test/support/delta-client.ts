// SPDX-License-Identifier: Apache-2.0
// A client of the delta stream in memory that applies responses as Istio's ztunnel does (SPEC XDS §1.5), for tests of
// the server's side. It answers when it is told to.
import { create, fromBinary, type JsonObject } from '@bufbuild/protobuf'
import type { DeltaSession, SessionResponse } from '../../controller/publish/delta-session.ts'
import { encodeResponse } from '../../controller/publish/encode.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/discovery/protocol.ts'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../proto/generated/envoy/discovery_pb.js'
import { type Authorization, AuthorizationSchema } from '../../proto/generated/istio/authorization_pb.js'
import { AddressSchema, type Service, type Workload } from '../../proto/generated/istio/workload_pb.js'

/** A request; what is not given is empty. */
export function deltaRequest(fields: {
  readonly typeUrl: string
  readonly subscribe?: readonly string[]
  readonly unsubscribe?: readonly string[]
  readonly held?: Readonly<Record<string, string>>
  readonly nonce?: string
  readonly error?: string
  /** Of the node. */
  readonly metadata?: JsonObject
}): DeltaDiscoveryRequest {
  const { typeUrl, subscribe = [], unsubscribe = [], held = {}, nonce = '', error, metadata } = fields
  return create(DeltaDiscoveryRequestSchema, {
    typeUrl,
    resourceNamesSubscribe: [...subscribe],
    resourceNamesUnsubscribe: [...unsubscribe],
    initialResourceVersions: held,
    responseNonce: nonce,
    ...(metadata === undefined ? {} : { node: { metadata } }),
    ...(error === undefined ? {} : { errorDetail: { code: 0, message: error } }),
  })
}

/** The client. */
export class FakeDeltaClient {
  readonly workloads = new Map<string, Workload>()
  readonly services = new Map<string, Service>()
  readonly policies = new Map<string, Authorization>()
  /** Last version by type and name, for a reconnect. */
  readonly versions = new Map<string, Record<string, string>>()
  readonly responses: DeltaDiscoveryResponse[] = []
  /** Names it refuses. */
  readonly refuses = new Set<string>()
  #session: DeltaSession
  #unanswered: { readonly typeUrl: string; readonly nonce: string; readonly refused: readonly string[] }[] =
    []

  constructor(session: DeltaSession) {
    this.#session = session
  }

  /** A new stream: says what it holds. */
  connect(session: DeltaSession): void {
    this.#session = session
    this.#unanswered = []
    for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE])
      session.onRequest(deltaRequest({ typeUrl, held: this.versions.get(typeUrl) ?? {} }))
  }

  /** Takes everything the server sends now. */
  receive(): void {
    for (let response = this.#session.next(); response !== null; response = this.#session.next())
      this.#apply(response)
  }

  /** Answers the oldest response; false when there is none. */
  answer(): boolean {
    const next = this.#unanswered.shift()
    if (next === undefined) return false
    const { typeUrl, nonce, refused } = next
    const error = refused.map((name) => `${name}: will not have it`).join('; ')
    this.#session.onRequest(deltaRequest({ typeUrl, nonce, ...(error === '' ? {} : { error }) }))
    return true
  }

  /** Receives and answers until nothing more happens. */
  settle(): void {
    for (let rounds = 0; rounds < 1000; rounds++) {
      this.receive()
      if (!this.answer()) return
    }
    throw new Error('the server never has enough')
  }

  #apply(sent: SessionResponse): void {
    const frames = sent.answers.map(({ name, resource }) => {
      if (name !== resource.name) throw new Error('not in this client')
      return resource.frame
    })
    const bytes = encodeResponse(sent.typeUrl, sent.nonce, frames, sent.removed)
    const response = fromBinary(DeltaDiscoveryResponseSchema, bytes)
    this.responses.push(response)
    const refused: string[] = []
    const versions = this.versions.get(response.typeUrl) ?? {}
    this.versions.set(response.typeUrl, versions)
    for (const { name, version, resource } of response.resources) {
      if (this.refuses.has(name)) {
        refused.push(name)
        continue
      }
      versions[name] = version
      this.#put(response.typeUrl, name, resource?.value ?? new Uint8Array())
    }
    for (const name of response.removedResources) {
      delete versions[name]
      for (const map of [this.workloads, this.services, this.policies]) map.delete(name)
    }
    this.#unanswered.push({ typeUrl: response.typeUrl, nonce: response.nonce, refused })
  }

  #put(typeUrl: string, name: string, bytes: Uint8Array): void {
    if (typeUrl === AUTHORIZATION_TYPE) {
      this.policies.set(name, fromBinary(AuthorizationSchema, bytes))
      return
    }
    const { type } = fromBinary(AddressSchema, bytes)
    if (type.case === 'workload') this.workloads.set(name, type.value)
    else if (type.case === 'service') this.services.set(name, type.value)
  }
}
