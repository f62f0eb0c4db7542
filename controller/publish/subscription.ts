// SPDX-License-Identifier: Apache-2.0
// What one client holds and wants of one type. Three ways to want: everything (a number says what it has), the part
// that concerns its node, or what it names. Pure.
import type { PublishedResource, ResourceDelta, ResourceLog } from './resource-log.ts'

/** A resource under the name the client asked for; usually its own. */
export interface Answer {
  readonly name: string
  readonly resource: PublishedResource
}

/** What is sent now. */
export interface Outgoing {
  readonly answers: readonly Answer[]
  readonly removed: readonly string[]
}

/** Finds what names mean and what belongs together. */
export interface NameResolver {
  /**
   * Names of the resources a client needs that asked for `key`; the first is the thing itself. Empty: unknown. `always`
   * is what the client has in any case.
   */
  resolve(key: string, always: ReadonlySet<string>): readonly string[]
}

export interface Subscription {
  /** True when there may be something the client lacks. */
  isBehind(): boolean
  /** True when removals were withheld. */
  readonly owesRemovals: boolean
  /** What it lacks, which counts as held from then on; null: nobody knows any more, let it start over. */
  take(withholdsRemovals: boolean): Outgoing | null
  subscribe(keys: readonly string[]): void
  unsubscribe(keys: readonly string[]): void
  /**
   * The client refused this version and keeps what it had. It is not sent again; where the client had nothing, it gets
   * `instead`, if there is one.
   */
  refuse(name: string, instead: () => PublishedResource | null): void
  /** How much it holds, for people. */
  readonly heldCount: number
}

const outgoing = ({ resources, removed }: ResourceDelta): Outgoing => ({
  answers: resources.map((resource) => ({ name: resource.name, resource })),
  removed,
})

/** Everything there is. */
export class WildcardSubscription implements Subscription {
  readonly #log: ResourceLog
  #sequence = 0
  /** Versions a client brought from an earlier stream, until it was answered. */
  #initial: ReadonlyMap<string, string> | null
  #isAnswered = false
  readonly owesRemovals = false
  readonly #refused = new Map<string, string>()

  constructor(log: ResourceLog, initial: ReadonlyMap<string, string>) {
    this.#log = log
    this.#initial = initial.size > 0 ? initial : null
  }

  get heldCount(): number {
    return this.#isAnswered ? this.#log.size : 0
  }

  isBehind(): boolean {
    return !this.#isAnswered || this.#sequence < this.#log.sequence
  }

  take(): Outgoing | null {
    const delta = this.#initial === null ? this.#log.since(this.#sequence) : this.#log.against(this.#initial)
    if (delta === null) return null
    this.#initial = null
    this.#isAnswered = true
    this.#sequence = this.#log.sequence
    const { answers, removed } = outgoing(delta)
    return { answers: answers.filter(({ name, resource }) => this.#mayHave(name, resource)), removed }
  }

  #mayHave(name: string, { version }: PublishedResource): boolean {
    if (this.#refused.get(name) === version) return false
    this.#refused.delete(name)
    return true
  }

  subscribe(): void {}
  unsubscribe(): void {}

  refuse(name: string): void {
    const version = this.#log.get(name)?.version
    if (version !== undefined) this.#refused.set(name, version)
  }
}

/** A set of names with the versions that were sent. */
export class NamedSubscription implements Subscription {
  readonly #log: ResourceLog
  readonly #resolver: NameResolver
  readonly #always: () => Iterable<string>
  readonly #stamp: () => number
  readonly #keys = new Set<string>()
  readonly #held: Map<string, string>
  readonly #previous = new Map<string, string | undefined>()
  readonly #refused = new Map<string, string>()
  readonly #overrides = new Map<string, { readonly version: string; readonly instead: PublishedResource }>()
  /** Keys that were asked for and not answered. */
  #asked = new Set<string>()
  #isAnswered = false
  #seenStamp = -1
  owesRemovals = false

  /**
   * `always` names what the client has in any case; `stamp` changes whenever that, or what keys mean, may have changed.
   */
  constructor(
    log: ResourceLog,
    resolver: NameResolver,
    always: () => Iterable<string>,
    stamp: () => number,
    initial: ReadonlyMap<string, string>,
  ) {
    this.#log = log
    this.#resolver = resolver
    this.#always = always
    this.#stamp = stamp
    this.#held = new Map(initial)
  }

  get heldCount(): number {
    return this.#held.size
  }

  subscribe(keys: readonly string[]): void {
    for (const key of keys) {
      this.#keys.add(key)
      this.#asked.add(key)
    }
  }

  unsubscribe(keys: readonly string[]): void {
    for (const key of keys) {
      // What it alone stood for is told to be gone: a client does not know which that is.
      if (this.#keys.delete(key)) this.#seenStamp = -1
      this.#asked.delete(key)
    }
  }

  isBehind(): boolean {
    return !this.#isAnswered || this.#asked.size > 0 || this.#seenStamp !== this.#stamp()
  }

  take(withholdsRemovals: boolean): Outgoing {
    const answers: Answer[] = []
    const removed: string[] = []
    const always = new Set(this.#always())
    const wanted = new Set(always)
    for (const key of this.#keys) {
      const names = this.#resolver.resolve(key, always)
      for (const name of names) wanted.add(name)
      if (!this.#asked.has(key)) continue
      // SPEC XDS §1.5: the client waits for exactly the name it asked for; what does not exist is "removed".
      const resource = names[0] === undefined ? undefined : this.#current(names[0])
      if (resource === undefined) removed.push(key)
      else if (key !== names[0] || this.#held.get(key) === resource.version)
        answers.push({ name: key, resource })
    }
    this.#asked.clear()
    for (const name of wanted) {
      const resource = this.#current(name)
      if (resource === undefined || this.#held.get(name) === resource.version) continue
      if (this.#refused.get(name) === resource.version) continue
      this.#refused.delete(name)
      this.#previous.set(name, this.#held.get(name))
      this.#held.set(name, resource.version)
      answers.push({ name, resource })
    }
    this.owesRemovals = false
    for (const name of this.#held.keys()) {
      if (wanted.has(name) && this.#log.get(name) !== undefined) continue
      if (withholdsRemovals) this.owesRemovals = true
      else {
        this.#held.delete(name)
        removed.push(name)
      }
    }
    this.#isAnswered = true
    this.#seenStamp = this.#stamp()
    return { answers, removed }
  }

  #current(name: string): PublishedResource | undefined {
    const resource = this.#log.get(name)
    const override = this.#overrides.get(name)
    return resource !== undefined && override?.version === resource.version ? override.instead : resource
  }

  refuse(name: string, instead: () => PublishedResource | null): void {
    const version = this.#held.get(name)
    const previous = this.#previous.get(name)
    if (version === undefined) return
    this.#refused.set(name, version)
    if (previous !== undefined) {
      this.#held.set(name, previous)
      return
    }
    this.#held.delete(name)
    const substitute = this.#overrides.get(name)?.version === version ? null : instead()
    if (substitute === null) return
    this.#overrides.set(name, { version, instead: substitute })
    this.#seenStamp = -1
  }
}
