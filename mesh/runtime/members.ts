// SPDX-License-Identifier: Apache-2.0
// Who is there now, where many come and go: connections, requests. Not a Set: V8 links each table that a Set has outgrown to
// its successor, so that one of them that has died old keeps whoever was in the later ones until a full collection.

/** What can be a member of one Members at a time. */
export interface Member {
  /** Its place, kept by Members; -1: it is in none. */
  memberIndex: number
}

/** Joining, leaving and counting cost the same with any number. In no order. */
export class Members<T extends Member> {
  readonly #all: T[] = []

  get size(): number {
    return this.#all.length
  }

  /** It must not be a member already. */
  add(member: T): void {
    member.memberIndex = this.#all.length
    this.#all.push(member)
  }

  /** False: it is no member. */
  delete(member: T): boolean {
    const index = member.memberIndex
    if (this.#all[index] !== member) return false
    member.memberIndex = -1
    const last = this.#all.pop()
    if (last === undefined || last === member) return true
    this.#all[index] = last
    last.memberIndex = index
    return true
  }

  /** A snapshot: they may leave meanwhile. */
  all(): T[] {
    return [...this.#all]
  }

  /** As all(). */
  [Symbol.iterator](): Iterator<T> {
    return this.all()[Symbol.iterator]()
  }
}
