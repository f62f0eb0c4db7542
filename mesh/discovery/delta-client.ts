// SPDX-License-Identifier: Apache-2.0
// The client's side of a delta stream as a state machine: what is held, what is answered, what is said first on the next
// stream. Bad resources are refused one by one; the others take effect. No I/O. SPEC XDS §1.5.
import { create, fromBinary, type JsonObject } from '@bufbuild/protobuf'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '../../proto/generated/envoy/discovery_pb.js'
import { AuthorizationSchema } from '../../proto/generated/istio/authorization_pb.js'
import { AddressSchema } from '../../proto/generated/istio/workload_pb.js'
import { RevocationsSchema } from '../../proto/generated/sidestep/v1/revocations_pb.js'
import { isRefusal } from '../errors/refusal.ts'
import { splitRevocationLists } from '../identity/revocation-list.ts'
import { TextPool } from '../model/compact.ts'
import type { MeshConfig } from '../model/mesh-state.ts'
import type { Policy } from '../model/policy.ts'
import type { Service } from '../model/service.ts'
import type { Workload } from '../model/workload.ts'
import { parseIp } from '../net/address.ts'
import { decodePolicy, denyInstead } from './decode-policy.ts'
import { decodeAddress } from './decode-workload.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, REVOCATIONS_NAME, REVOCATIONS_TYPE } from './protocol.ts'
import { ResourceError } from './resource-error.ts'

/** What a configuration is made of, in the order in which it is asked for. */
const TYPES = [ADDRESS_TYPE, AUTHORIZATION_TYPE]
/** Asked for once the configuration is whole: a controller that does not know it gives us the rest all the same. */
const LATER_TYPES = [REVOCATIONS_TYPE]
const EVERYTHING = '*'
/** Names and reasons in one NACK. */
const MAX_NACK_LENGTH = 4096

/** How this client presents itself. SPEC XDS §1.2. */
export interface DiscoveryNode {
  readonly id: string
  readonly metadata: JsonObject
}

/** A resource that was refused and is not held. */
export interface RefusedResource {
  readonly typeUrl: string
  readonly name: string
  readonly message: string
}

/** What a response did. */
export interface Applied {
  /** The answer to send. */
  readonly answer: DeltaDiscoveryRequest
  /** Of the configuration. */
  readonly hasChanged: boolean
  /** Whatever was asked for by one of these names is held now. */
  readonly named: readonly string[]
  /** Revocation lists as they came, DER, unverified; null: this response was not about them. */
  readonly revocations: readonly Buffer[] | null
  readonly refused: readonly RefusedResource[]
  /** Refused policies in whose place a denial was put. */
  readonly denied: readonly string[]
  /** Whoever wants to know what this client holds has to know this response. */
  readonly isWorthKeeping: boolean
}

/** Resources that are held as they came, encoded: by type, then by name. */
export type RawResources = ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>

/** What is held; lives longer than a stream. */
export class DeltaClient {
  readonly #node: DiscoveryNode
  readonly #types: readonly string[]
  readonly #versions: ReadonlyMap<string, Map<string, string>>
  readonly #raw: ReadonlyMap<string, Map<string, Uint8Array>>
  readonly #workloads = new Map<string, Workload>()
  readonly #services = new Map<string, Service>()
  readonly #policies = new Map<string, Policy>()
  readonly #answered = new Set<string>()
  /** Answered by a controller, not from what was saved. */
  readonly #confirmed = new Set<string>()
  readonly #pool = new TextPool()
  /** Those of the response being applied. */
  #revocations: readonly Buffer[] | null = null
  #denied: string[] = []

  /** `rawTypes`: what the configuration has beside workloads, services and policies. */
  constructor(node: DiscoveryNode, rawTypes: readonly string[] = []) {
    this.#node = node
    this.#types = [...TYPES, ...rawTypes]
    this.#versions = new Map([...this.#types, ...LATER_TYPES].map((typeUrl) => [typeUrl, new Map()]))
    this.#raw = new Map(rawTypes.map((typeUrl) => [typeUrl, new Map()]))
  }

  /** True once a response of every type was taken: from then on the configuration is whole. */
  get isComplete(): boolean {
    return this.#types.every((typeUrl) => this.#answered.has(typeUrl))
  }

  /** True once a controller has answered for every type: what was restored has been corrected. */
  get isConfirmed(): boolean {
    return this.#types.every((typeUrl) => this.#confirmed.has(typeUrl))
  }

  /** Everything that is held, as a new object. */
  config(): MeshConfig {
    return {
      workloads: [...this.#workloads.values()],
      services: [...this.#services.values()],
      policies: [...this.#policies.values()],
    }
  }

  /** The resources of `rawTypes`; live: what a later response changes is changed in it. */
  get raw(): RawResources {
    return this.#raw
  }

  /** The first requests of a stream. `demanded`: of addresses only these are wanted; null: all. */
  greetings(demanded: readonly string[] | null = null): readonly DeltaDiscoveryRequest[] {
    return this.#types.map((typeUrl) => {
      const greeting = this.#greeting(typeUrl)
      if (demanded === null || typeUrl !== ADDRESS_TYPE) return greeting
      // SPEC XDS §1.5: everything, and in the same breath nothing of it.
      greeting.resourceNamesSubscribe = [EVERYTHING, ...demanded]
      greeting.resourceNamesUnsubscribe = [EVERYTHING]
      return greeting
    })
  }

  /** Asks for further addresses, and gives others back. */
  demandRequest(subscribe: readonly string[], unsubscribe: readonly string[]): DeltaDiscoveryRequest {
    return create(DeltaDiscoveryRequestSchema, {
      typeUrl: ADDRESS_TYPE,
      resourceNamesSubscribe: [...subscribe],
      resourceNamesUnsubscribe: [...unsubscribe],
    })
  }

  /** What is asked for on a stream as soon as the configuration is whole. */
  laterGreetings(): readonly DeltaDiscoveryRequest[] {
    return LATER_TYPES.map((typeUrl) => this.#greeting(typeUrl))
  }

  #greeting(typeUrl: string): DeltaDiscoveryRequest {
    const { id, metadata } = this.#node
    return create(DeltaDiscoveryRequestSchema, {
      node: { id, metadata },
      typeUrl,
      initialResourceVersions: Object.fromEntries(this.#versions.get(typeUrl) ?? []),
    })
  }

  /** Takes a response of a controller: updates first, then removals. */
  apply(response: DeltaDiscoveryResponse): Applied {
    const applied = this.#take(response)
    if (applied.refused.length === 0) this.#confirmed.add(response.typeUrl)
    return applied
  }

  /** Takes a response that a controller has sent to an earlier run. */
  restore(response: DeltaDiscoveryResponse): Applied {
    return this.#take(response)
  }

  #take({ typeUrl, nonce, resources, removedResources }: DeltaDiscoveryResponse): Applied {
    const versions = this.#versions.get(typeUrl)
    const wasAnswered = this.#answered.has(typeUrl)
    this.#revocations = null
    this.#denied = []
    const refused: RefusedResource[] = []
    const named: string[] = []
    let changes = 0
    if (versions !== undefined) {
      for (const { name, version, resource, aliases } of resources) {
        try {
          const isHeld = this.#put(typeUrl, name, resource?.value ?? new Uint8Array(), versions.has(name))
          named.push(name, ...aliases)
          if (!isHeld) continue
          changes++
          versions.set(name, version)
        } catch (error) {
          refused.push({ typeUrl, name, message: error instanceof Error ? error.message : String(error) })
        }
      }
      for (const name of removedResources) {
        if (versions.delete(name) || typeUrl !== ADDRESS_TYPE) changes++
        this.#remove(typeUrl, name)
      }
    }
    if (refused.length === 0) this.#answered.add(typeUrl)
    const message = refused.map(({ name, message: why }) => `${name}: ${why}`).join('; ')
    const answer = create(DeltaDiscoveryRequestSchema, {
      typeUrl,
      responseNonce: nonce,
      ...(message === '' ? {} : { errorDetail: { message: message.slice(0, MAX_NACK_LENGTH) } }),
    })
    const isConfiguration = this.#types.includes(typeUrl)
    const hasChanged = isConfiguration && changes > 0
    const isWorthKeeping = isConfiguration && (hasChanged || !wasAnswered)
    return {
      answer,
      hasChanged,
      named,
      revocations: this.#revocations,
      refused,
      denied: this.#denied,
      isWorthKeeping,
    }
  }

  /** False: it is held by its own name, this one was only asked for. */
  #put(typeUrl: string, name: string, bytes: Uint8Array, isKnown: boolean): boolean {
    if (typeUrl === AUTHORIZATION_TYPE) {
      const wire = fromBinary(AuthorizationSchema, bytes)
      try {
        this.#policies.set(name, decodePolicy(wire))
      } catch (error) {
        // The earlier version stays; where there is none, what it may cover is closed rather than open.
        if (!isKnown && error instanceof ResourceError && !wire.dryRun) {
          this.#policies.set(name, denyInstead(wire))
          this.#denied.push(name)
        }
        throw error
      }
      return true
    }
    if (typeUrl === REVOCATIONS_TYPE) {
      if (name !== REVOCATIONS_NAME) throw new ResourceError('not a name of this type')
      const lists = splitRevocationLists(fromBinary(RevocationsSchema, bytes).crl)
      if (isRefusal(lists)) throw new ResourceError(lists.detail)
      this.#revocations = lists
      return true
    }
    const raw = this.#raw.get(typeUrl)
    if (raw !== undefined) {
      raw.set(name, bytes)
      return true
    }
    const decoded = decodeAddress(fromBinary(AddressSchema, bytes))
    if (isAddressName(name)) return false
    if (decoded.kind === 'workload') this.#workloads.set(name, this.#pool.workload(decoded.workload))
    else this.#services.set(name, decoded.service)
    return true
  }

  #remove(typeUrl: string, name: string): void {
    if (typeUrl === REVOCATIONS_TYPE) return // what was revoked stays so
    if (typeUrl === AUTHORIZATION_TYPE) this.#policies.delete(name)
    else if (this.#raw.has(typeUrl)) this.#raw.get(typeUrl)?.delete(name)
    else if (!this.#workloads.delete(name)) this.#services.delete(name)
  }
}

/** `<network>/<ip>`: a name that something is asked for by, and nothing's own. */
function isAddressName(name: string): boolean {
  return parseIp(name.slice(name.indexOf('/') + 1)) !== undefined
}
