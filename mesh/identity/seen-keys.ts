// SPDX-License-Identifier: Apache-2.0
// The keys of peers that were here with a certificate in order, as all threads of a process see them: one block of shared
// memory of a fixed size, in which every thread reads and writes without asking the others. Two that write to one place at
// once may leave a mixture: a fingerprint that no key has, so that somebody is forgotten and nobody let in.

/** Of a SHA-256, for what is stored: 224 bits, beyond anybody's collision. */
const FINGERPRINT_BYTES = 28
/** A fingerprint and when it was here last, Unix time in seconds, little endian. */
const ENTRY_BYTES = 32
/** Entries that a fingerprint may be stored in. */
const WAYS = 8
/** Keys remembered, in 256 KiB; of those that share their places the one not here for longest goes first. */
export const MAX_SEEN_KEYS = 8192
const BUCKETS = MAX_SEEN_KEYS / WAYS
/** In front of the entries: how many keys were added. */
const COUNTER_SIZE = 4
/** A key that is here all the time is not written each time. */
const REFRESH_SECONDS = 60

/** Memory for SeenKeys of all threads. */
export function createSeenKeys(): SharedArrayBuffer {
  return new SharedArrayBuffer(COUNTER_SIZE + MAX_SEEN_KEYS * ENTRY_BYTES)
}

/** Keys by the SHA-256 that stands for them. */
export class SeenKeys {
  readonly #added: Int32Array
  readonly #bytes: Buffer

  constructor(memory: SharedArrayBuffer) {
    this.#added = new Int32Array(memory, 0, 1)
    this.#bytes = Buffer.from(memory, COUNTER_SIZE)
  }

  /** Differs when keys were added meanwhile, by whichever thread. */
  get version(): number {
    return Atomics.load(this.#added, 0)
  }

  has(fingerprint: Buffer): boolean {
    return this.#find(fingerprint) >= 0
  }

  /** The key was here at `nowMs`, epoch. */
  add(fingerprint: Buffer, nowMs: number): void {
    const nowSeconds = Math.floor(nowMs / 1000)
    const known = this.#find(fingerprint)
    if (known >= 0 && Math.abs(nowSeconds - this.#seenSeconds(known)) < REFRESH_SECONDS) return
    const at = known >= 0 ? known : this.#oldest(fingerprint)
    fingerprint.copy(this.#bytes, at, 0, FINGERPRINT_BYTES)
    this.#bytes.writeUInt32LE(nowSeconds, at + FINGERPRINT_BYTES)
    if (known < 0) Atomics.add(this.#added, 0, 1)
  }

  /** All of it, for load() of a later run. */
  save(): string {
    const used: Buffer[] = []
    for (let at = 0; at < this.#bytes.length; at += ENTRY_BYTES)
      if (this.#seenSeconds(at) > 0) used.push(this.#bytes.subarray(at, at + ENTRY_BYTES))
    return Buffer.concat(used).toString('base64')
  }

  /** Adds what save() gave; what is no whole entry is left out. */
  load(saved: string): void {
    const bytes = Buffer.from(saved, 'base64')
    for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES)
      this.add(bytes.subarray(at), bytes.readUInt32LE(at + FINGERPRINT_BYTES) * 1000)
  }

  /** Where it is, -1: nowhere. */
  #find(fingerprint: Buffer): number {
    const first = firstPlace(fingerprint)
    for (let at = first; at < first + WAYS * ENTRY_BYTES; at += ENTRY_BYTES)
      if (fingerprint.compare(this.#bytes, at, at + FINGERPRINT_BYTES, 0, FINGERPRINT_BYTES) === 0) return at
    return -1
  }

  #oldest(fingerprint: Buffer): number {
    const first = firstPlace(fingerprint)
    let oldest = first
    for (let at = first; at < first + WAYS * ENTRY_BYTES; at += ENTRY_BYTES)
      if (this.#seenSeconds(at) < this.#seenSeconds(oldest)) oldest = at
    return oldest
  }

  #seenSeconds(at: number): number {
    return this.#bytes.readUInt32LE(at + FINGERPRINT_BYTES)
  }
}

function firstPlace(fingerprint: Buffer): number {
  return (fingerprint.readUInt32LE(0) % BUCKETS) * WAYS * ENTRY_BYTES
}
