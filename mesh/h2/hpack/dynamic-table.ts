// SPDX-License-Identifier: Apache-2.0
// HPACK's dynamic table (RFC 7541 §2.3.2, §4): first in, first out, bounded by bytes. Positions count from the
// newest entry, which is 0. Memory is taken with the first entry: an idle connection has none.

/** What an entry costs beside its text (RFC 7541 §4.1). */
export const ENTRY_OVERHEAD_BYTES = 32

/** Fields of the latest header blocks, the newest first. */
export class DynamicTable {
  // Newest at the end. `#first` skips evicted entries until the arrays are compacted.
  #names: string[] | null = null
  #values: string[] = []
  #first = 0
  #bytes = 0
  #maxBytes: number

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get length(): number {
    return this.#names === null ? 0 : this.#names.length - this.#first
  }
  get bytes(): number {
    return this.#bytes
  }
  get maxBytes(): number {
    return this.#maxBytes
  }

  /** Name of the entry `position` places behind the newest; the caller checks the range. */
  name(position: number): string {
    return this.#names === null ? '' : (this.#names[this.#names.length - 1 - position] ?? '')
  }
  value(position: number): string {
    return this.#values[this.#values.length - 1 - position] ?? ''
  }

  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes
    this.#evict(maxBytes)
  }

  // SPEC RFC7541 §4.4: an entry larger than the table empties it and is not added; that is no error.
  add(name: string, value: string): void {
    const bytes = name.length + value.length + ENTRY_OVERHEAD_BYTES
    this.#evict(this.#maxBytes - bytes)
    if (bytes > this.#maxBytes) return
    if (this.#names === null) this.#names = []
    this.#names.push(name)
    this.#values.push(value)
    this.#bytes += bytes
  }

  /** Position of the newest entry with that name and value, or −1. Tables hold tens of entries: a scan is cheap. */
  find(name: string, value: string): number {
    const names = this.#names
    if (names === null) return -1
    for (let at = names.length - 1; at >= this.#first; at--) {
      if (names[at] === name && this.#values[at] === value) return names.length - 1 - at
    }
    return -1
  }

  findName(name: string): number {
    const names = this.#names
    if (names === null) return -1
    for (let at = names.length - 1; at >= this.#first; at--)
      if (names[at] === name) return names.length - 1 - at
    return -1
  }

  #evict(targetBytes: number): void {
    const names = this.#names
    if (names === null) return
    while (this.#bytes > targetBytes && this.#first < names.length) {
      this.#bytes -=
        (names[this.#first] ?? '').length + (this.#values[this.#first] ?? '').length + ENTRY_OVERHEAD_BYTES
      names[this.#first] = ''
      this.#values[this.#first] = ''
      this.#first++
    }
    // Compacting when half is dead costs a constant per added entry.
    if (this.#first > 32 && this.#first * 2 > names.length) {
      names.splice(0, this.#first)
      this.#values.splice(0, this.#first)
      this.#first = 0
    }
  }
}
