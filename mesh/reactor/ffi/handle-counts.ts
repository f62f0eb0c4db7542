// SPDX-License-Identifier: Apache-2.0
// Native handles created and freed by this thread, by kind: what no garbage collector would give back. Plain numbers
// in memory that the worker shares with main, so that counting is one memory write and reading needs no message.
// Created and freed are equal when nothing is open; a dead worker's difference is what the process has lost.

/** Kinds of handles, in the order of their cells. `descriptor`: those a reactor owns (see DescriptorTable). */
export const HANDLE_KINDS = ['SSL_CTX', 'SSL', 'BIO', 'X509', 'EVP_PKEY', 'descriptor'] as const
export type HandleKind = (typeof HANDLE_KINDS)[number]
export const SSL_CTX = 0
export const SSL = 1
export const BIO = 2
export const X509 = 3
export const EVP_PKEY = 4
export const DESCRIPTOR = 5

/** Counts of one kind. */
export interface HandleCount {
  readonly created: number
  readonly freed: number
}
export type HandleCounts = Readonly<Record<HandleKind, HandleCount>>

/** Memory of one thread's counts: created and freed per kind. Doubles: exact beyond any uptime. */
export function createHandleMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(HANDLE_KINDS.length * 2 * 8)
}

let cells = new Float64Array(createHandleMemory())

/** Counts into `memory` from now on, keeping what was counted: once, at the start of a worker. */
export function shareHandleCounts(memory: SharedArrayBuffer): void {
  const shared = new Float64Array(memory)
  shared.set(cells)
  cells = shared
}

/** `kind` is one of the constants above. */
export function countCreated(kind: number): void {
  cells[kind * 2] = (cells[kind * 2] ?? 0) + 1
}
export function countFreed(kind: number): void {
  cells[kind * 2 + 1] = (cells[kind * 2 + 1] ?? 0) + 1
}

/** The counts in a worker's memory, or this thread's own. */
export function readHandleCounts(memory?: SharedArrayBuffer): HandleCounts {
  const source = memory === undefined ? cells : new Float64Array(memory)
  const entries = HANDLE_KINDS.map((kind, index): [HandleKind, HandleCount] => [
    kind,
    { created: source[index * 2] ?? 0, freed: source[index * 2 + 1] ?? 0 },
  ])
  return Object.fromEntries(entries) as HandleCounts // as: fromEntries widens the keys
}

/** Handles open now: created minus freed. */
export function openHandles(memory?: SharedArrayBuffer): Readonly<Record<HandleKind, number>> {
  const counts = readHandleCounts(memory)
  const entries = HANDLE_KINDS.map((kind) => [kind, counts[kind].created - counts[kind].freed])
  return Object.fromEntries(entries) as Record<HandleKind, number> // as: fromEntries widens the keys
}
