// SPDX-License-Identifier: Apache-2.0
// The published resources of one type, in the order in which they last changed. A client that takes everything is
// described by one number, the sequence it has reached: two hundred clients cost two hundred numbers. Pure.
import { createHash } from 'node:crypto'
import { encodeResource } from './encode.ts'

/** One resource, encoded once for all clients. */
export interface PublishedResource {
  readonly name: string
  /** From the content, so that every replica gives the same version to the same thing. */
  readonly version: string
  readonly aliases: readonly string[]
  /** Field 2 of a DeltaDiscoveryResponse, tag and length included. */
  readonly frame: Uint8Array
}

/** What is to be published under a name. */
export interface ResourceContent {
  readonly name: string
  readonly aliases: readonly string[]
  /** The message, encoded. */
  readonly bytes: Uint8Array
}

/** What a client has to be told. */
export interface ResourceDelta {
  readonly resources: readonly PublishedResource[]
  readonly removed: readonly string[]
}

interface Change {
  readonly sequence: number
  readonly name: string
  readonly resource: PublishedResource | null
}

/** Names that are gone are remembered for clients that are behind; beyond this many such clients compare names. */
const MAX_TOMBSTONES = 20_000

/** The resources of one type. */
export class ResourceLog {
  readonly typeUrl: string
  /** Of the latest change; 0: there never was anything. */
  sequence = 0
  /** Something was published, be it that there is nothing: until then nobody knows what there is. */
  isPublished = false
  readonly #latest = new Map<string, Change>()
  #changes: Change[] = []
  #tombstones = 0
  /** Clients below this cannot be told what was removed since. */
  #horizon = 0
  #deltas = new Map<number, ResourceDelta>()

  constructor(typeUrl: string) {
    this.typeUrl = typeUrl
  }

  /** How many there are. */
  get size(): number {
    return this.#latest.size - this.#tombstones
  }

  get(name: string): PublishedResource | undefined {
    return this.#latest.get(name)?.resource ?? undefined
  }

  *all(): Iterable<PublishedResource> {
    for (const { resource } of this.#latest.values()) if (resource !== null) yield resource
  }

  /** Publishes what differs from before, as one step. True when anything did. */
  update(changed: Iterable<ResourceContent>, removed: Iterable<string>): boolean {
    this.isPublished = true
    const sequence = this.sequence + 1
    let hasChanged = false
    for (const content of changed) {
      const resource = publishedResource(this.typeUrl, content)
      if (this.get(content.name)?.version === resource.version) continue
      hasChanged = true
      this.#record({ sequence, name: content.name, resource })
    }
    for (const name of removed) {
      if (this.get(name) === undefined) continue
      hasChanged = true
      this.#record({ sequence, name, resource: null })
    }
    if (!hasChanged) return false
    this.sequence = sequence
    this.#deltas.clear()
    if (this.#changes.length > 2 * this.#latest.size + 1000) this.#compact()
    return true
  }

  /** What changed after `sequence`, or null when that is too long ago to know. */
  since(sequence: number): ResourceDelta | null {
    if (sequence < this.#horizon && sequence !== 0) return null
    const known = this.#deltas.get(sequence)
    if (known !== undefined) return known
    const resources: PublishedResource[] = []
    const removed: string[] = []
    for (let index = this.#indexAfter(sequence); index < this.#changes.length; index++) {
      const change = this.#changes[index]
      if (change === undefined || this.#latest.get(change.name) !== change) continue
      if (change.resource !== null) resources.push(change.resource)
      else if (sequence !== 0) removed.push(change.name)
    }
    const delta = { resources, removed }
    this.#deltas.set(sequence, delta)
    return delta
  }

  /** What a client that holds these versions has to be told. */
  against(held: ReadonlyMap<string, string>): ResourceDelta {
    const resources: PublishedResource[] = []
    for (const resource of this.all()) {
      if (held.get(resource.name) !== resource.version) resources.push(resource)
    }
    return { resources, removed: [...held.keys()].filter((name) => this.get(name) === undefined) }
  }

  #record(change: Change): void {
    const before = this.#latest.get(change.name)
    if (before?.resource === null) this.#tombstones--
    if (change.resource === null) this.#tombstones++
    this.#latest.set(change.name, change)
    this.#changes.push(change)
  }

  #indexAfter(sequence: number): number {
    let low = 0
    let high = this.#changes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#changes[middle]?.sequence ?? 0) <= sequence) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Keeps the latest change of every name, and of the removed ones the newest. */
  #compact(): void {
    let surplus = Math.max(0, this.#tombstones - MAX_TOMBSTONES)
    const kept: Change[] = []
    for (const change of this.#changes) {
      if (this.#latest.get(change.name) !== change) continue
      if (change.resource === null && surplus > 0) {
        surplus--
        this.#tombstones--
        this.#latest.delete(change.name)
        this.#horizon = change.sequence
      } else kept.push(change)
    }
    this.#changes = kept
  }
}

/** Encodes it for all clients. */
export function publishedResource(
  typeUrl: string,
  { name, aliases, bytes }: ResourceContent,
): PublishedResource {
  const version = createHash('sha256').update(bytes).digest('hex').slice(0, 16)
  return { name, version, aliases, frame: encodeResource(typeUrl, name, version, aliases, bytes) }
}
