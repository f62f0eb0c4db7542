// SPDX-License-Identifier: Apache-2.0
// Fewer responses that leave a client with the same: what was replaced or removed is left out. Pure.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { DeltaDiscoveryResponseSchema, type Resource } from '../../proto/generated/envoy/discovery_pb.js'
import { DeltaClient } from './delta-client.ts'

/** Resources of one response: reading it takes a moment, no more. */
const CHUNK_SIZE = 500

/** What is left of one type. */
interface Held {
  /** By name. */
  readonly accepted: Map<string, Resource>
  /** Refused policies that stand as a denial, by name. */
  readonly denied: Map<string, Resource>
  /** Responses as they came, as long as none was without a refusal: no client knows yet that this is all there is. */
  unanswered: Buffer[] | null
}

/** Takes responses one after the other, then tells what is left. */
export class ResponseCompactor {
  readonly #types = new Map<string, Held>()
  /** Knows what is refused. */
  readonly #client = new DeltaClient({ id: '', metadata: {} })

  /** @throws Error when it is no response */
  add(bytes: Buffer): void {
    const { typeUrl, resources, removedResources } = fromBinary(DeltaDiscoveryResponseSchema, bytes)
    const held = this.#types.get(typeUrl) ?? newHeld()
    this.#types.set(typeUrl, held)
    let isAnswer = true
    // One by one: a response may name a resource twice.
    for (const resource of resources) {
      const alone = create(DeltaDiscoveryResponseSchema, { typeUrl, resources: [resource] })
      const { refused, denied } = this.#client.restore(alone)
      if (denied.length > 0) held.denied.set(resource.name, resource)
      if (refused.length > 0) isAnswer = false
      else {
        held.accepted.set(resource.name, resource)
        held.denied.delete(resource.name)
      }
    }
    this.#client.restore(create(DeltaDiscoveryResponseSchema, { typeUrl, removedResources }))
    for (const name of removedResources) {
      held.accepted.delete(name)
      held.denied.delete(name)
    }
    if (isAnswer) held.unanswered = null
    else held.unanswered?.push(bytes)
  }

  /** The fewer responses. */
  *responses(): Generator<Uint8Array> {
    for (const [typeUrl, { accepted, denied, unanswered }] of this.#types) {
      if (unanswered !== null) yield* unanswered
      else {
        for (const chunk of chunksOf([...accepted.values()])) yield encode(typeUrl, chunk)
        if (denied.size > 0) yield encode(typeUrl, [...denied.values()])
      }
    }
  }
}

const newHeld = (): Held => ({ accepted: new Map(), denied: new Map(), unanswered: [] })

function encode(typeUrl: string, resources: Resource[]): Uint8Array {
  return toBinary(DeltaDiscoveryResponseSchema, create(DeltaDiscoveryResponseSchema, { typeUrl, resources }))
}

/** At least one, though it be empty. */
function chunksOf(resources: readonly Resource[]): Resource[][] {
  const chunks = [resources.slice(0, CHUNK_SIZE)]
  for (let start = CHUNK_SIZE; start < resources.length; start += CHUNK_SIZE)
    chunks.push(resources.slice(start, start + CHUNK_SIZE))
  return chunks
}
