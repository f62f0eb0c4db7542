// SPDX-License-Identifier: Apache-2.0
// Where what goes well between two workloads is counted, found by the workloads themselves: to put together the text by which the
// counters know it costs more than to count. Pure.

/** What a slot depends on, of a connection that is well. */
export interface CountedPair {
  readonly direction: 'outbound' | 'inbound'
  readonly transport: string
  readonly source: object | null
  readonly destination: object | null
  readonly service: object | null
}

interface PairSlot extends Pick<CountedPair, 'direction' | 'transport' | 'service'> {
  readonly slot: number
}

/** Of one worker. Forgets with the workloads, which a change of the mesh replaces. */
export class PairSlots {
  readonly #slots = new WeakMap<object, WeakMap<object, PairSlot>>()

  /** -1: unknown. */
  get({ direction, transport, source, destination, service }: CountedPair): number {
    if (source === null || destination === null) return -1
    const known = this.#slots.get(destination)?.get(source)
    const isSame =
      known?.direction === direction && known.transport === transport && known.service === service
    return isSame ? known.slot : -1
  }

  /** The last one of each pair is kept. */
  set({ direction, transport, source, destination, service }: CountedPair, slot: number): void {
    if (source === null || destination === null) return
    const bySource = this.#slots.get(destination) ?? new WeakMap<object, PairSlot>()
    this.#slots.set(destination, bySource)
    bySource.set(source, { direction, transport, service, slot })
  }
}
