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
  /** A client knows that this is all there is. */
  isAnswered: boolean
}

/** Takes responses one after the other, then tells what is left. */
export class ResponseCompactor {
  readonly #types = new Map<string, Held>()
  /** Knows what is refused. */
  readonly #client = new DeltaClient({ id: '', metadata: {} })

  /** @throws Error when it is no response */
  add(bytes: Buffer): void {
    const response = fromBinary(DeltaDiscoveryResponseSchema, bytes)
    const { refused, denied } = this.#client.restore(response)
    const held = this.#types.get(response.typeUrl) ?? newHeld()
    this.#types.set(response.typeUrl, held)
    const refusedNames = new Set(refused.map(({ name }) => name))
    for (const resource of response.resources) {
      if (denied.includes(resource.name)) held.denied.set(resource.name, resource)
      if (refusedNames.has(resource.name)) continue
      held.accepted.set(resource.name, resource)
      held.denied.delete(resource.name)
    }
    for (const name of response.removedResources) {
      held.accepted.delete(name)
      held.denied.delete(name)
    }
    held.isAnswered ||= refused.length === 0
  }

  /** The fewer responses. */
  *responses(): Generator<Uint8Array> {
    for (const [typeUrl, { accepted, denied, isAnswered }] of this.#types) {
      const resources = [...accepted.values()]
      // A response without a refusal is an answer: one that never came must not come of this.
      const chunks = isAnswered ? chunksOf(resources) : [[...resources, ...denied.values()]]
      for (const chunk of chunks) yield encode(typeUrl, chunk)
      if (isAnswered && denied.size > 0) yield encode(typeUrl, [...denied.values()])
    }
  }
}

const newHeld = (): Held => ({ accepted: new Map(), denied: new Map(), isAnswered: false })

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
