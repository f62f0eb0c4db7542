// SPDX-License-Identifier: Apache-2.0
// Who reads requests as they end: `/tap` of the admin API. Workers are told what all readers want, and write nothing else.
import { type AdminAnswer, type AdminStream, text } from '../mesh/admin/admin-answers.ts'
import { isRefusal } from '../mesh/errors/refusal.ts'
import type { Clock } from '../mesh/runtime/clock.ts'
import { TapReaders } from '../mesh/telemetry/tap-readers.ts'
import { isWanted, parseTapFilter, readTapped, type TapFilter } from './records/tap-filter.ts'

export class RequestTaps {
  readonly #readers: TapReaders<TapFilter>

  /** `onFilters` hears what is wanted, whenever a reader comes or goes. */
  constructor(clock: Clock, onFilters: (filters: readonly TapFilter[]) => void) {
    this.#readers = new TapReaders(clock, onFilters)
  }

  get filters(): readonly TapFilter[] {
    return this.#readers.filters
  }

  /** A request that one of the readers wants, as its record. */
  onRecord(record: string): void {
    const tapped = readTapped(record)
    if (tapped === null) return
    this.#readers.tell(
      (filter) => isWanted(filter, tapped),
      () => record,
    )
  }

  /** So many that may have been wanted were not told. */
  onLost(count: number): void {
    this.#readers.lost(count)
  }

  /** `[?path=…&status=…&source=…&reason=…]`: requests from now on, one line of JSON each. Blank lines say nothing. */
  answer(query: URLSearchParams): AdminAnswer | AdminStream {
    const filter = parseTapFilter(query)
    if (isRefusal(filter)) return text(400, `${filter.detail}\n`)
    if (this.#readers.isFull) return text(503, 'as many readers as there may be listen already\n')
    return { type: 'application/x-ndjson', open: (sink) => this.#readers.open(filter, sink) }
  }
}
