// SPDX-License-Identifier: Apache-2.0
// OpenSSL's own word on how many objects live: it calls back whenever one with application data is really created or
// freed. Sees what reference counting does, which our own counters cannot. The process must use OpenSSL in no other way:
// a garbage collector that frees one of Node's own keys could not call JavaScript.
import {
  bindFunction,
  hasSymbol,
  openLibrary,
  type Pointer,
  registerCallback,
} from '../../mesh/reactor/ffi/native.ts'

/** Class indexes of openssl/crypto.h. */
const CLASSES = { SSL: 0, SSL_CTX: 1, X509: 3, BIO: 12, EVP_PKEY: 17 } as const
export type CensusKind = keyof typeof CLASSES

const exCallback = (name: string): string =>
  `void ${name}(uintptr_t, uintptr_t, uintptr_t, int, long, uintptr_t)`
const own = openLibrary(null)
const library = hasSymbol(own, 'SSL_CTX_new') ? own : openLibrary('libssl.so.3')
const CRYPTO_get_ex_new_index = bindFunction<
  (kind: number, long: number, argument: Pointer, created: Pointer, copied: Pointer, freed: Pointer) => number
>(library, 'int CRYPTO_get_ex_new_index(int, long, uintptr_t, uintptr_t, uintptr_t, uintptr_t)')
const CRYPTO_free_ex_index = bindFunction<(kind: number, index: number) => number>(
  library,
  'int CRYPTO_free_ex_index(int, int)',
)

/** Counts from its making on. */
export class NativeCensus {
  readonly #alive: Record<CensusKind, number> = { SSL: 0, SSL_CTX: 0, X509: 0, BIO: 0, EVP_PKEY: 0 }

  readonly #indexes: Array<readonly [kind: number, index: number]> = []

  constructor() {
    const kindOf = new Map<number, CensusKind>(
      Object.entries(CLASSES).map(([kind, index]) => [index, kind as CensusKind]),
    ) // as: the keys
    const count = (step: number, kind: number): number => {
      const name = kindOf.get(kind)
      if (name !== undefined) this.#alive[name] += step
      return 0
    }
    type Callback = (...values: number[]) => number
    const created: Callback = (_parent, _value, _data, _index, kind) => count(1, Number(kind))
    const freed: Callback = (_parent, _value, _data, _index, kind) => count(-1, Number(kind))
    const [onCreated, onFreed] = [
      registerCallback(exCallback('OnCreated'), created),
      registerCallback(exCallback('OnFreed'), freed),
    ]
    for (const kind of Object.values(CLASSES)) {
      this.#indexes.push([kind, CRYPTO_get_ex_new_index(kind, kind, 0, onCreated, 0, onFreed)])
    }
  }

  /** No call follows: what OpenSSL frees when the process exits could not reach JavaScript any more. */
  stop(): void {
    for (const [kind, index] of this.#indexes) CRYPTO_free_ex_index(kind, index)
    this.#indexes.length = 0
  }

  /** Objects created minus freed since the census began. */
  get alive(): Readonly<Record<CensusKind, number>> {
    return { ...this.#alive }
  }
}
