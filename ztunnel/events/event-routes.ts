// SPDX-License-Identifier: Apache-2.0
// Routes of the admin API about events: `/events`, the last ones of each pod; `/tap`, those that come.

import {
  type AdminAnswer,
  type AdminRoutes,
  type AdminStream,
  json,
  text,
} from '../../mesh/admin/admin-answers.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { App } from '../app.ts'
import { parseLine } from './event-line.ts'
import { parseTapFilter } from './tap-filter.ts'

const parsed = (lines: readonly string[]): readonly unknown[] =>
  lines.flatMap((line) => parseLine(line) ?? [])

/** `[?pod=<namespace>/<name>]`: the last events of one pod, or of all by their names; oldest first. */
export function events(app: Pick<App, 'events' | 'records'>, query: URLSearchParams): AdminAnswer {
  app.records.drain()
  const pod = query.get('pod')
  if (pod !== null) return json(parsed(app.events.of(pod)))
  return json(
    Object.fromEntries(Object.entries(app.events.all()).map(([name, lines]) => [name, parsed(lines)])),
  )
}

/** `[?pod=…&peer=…&reason=…]`: events from now on, one line of JSON each, until the caller leaves. Blank lines say nothing. */
export function tap(
  { events: { tap: readers } }: Pick<App, 'events'>,
  query: URLSearchParams,
): AdminAnswer | AdminStream {
  const filter = parseTapFilter(query)
  if (isRefusal(filter)) return text(400, `${filter.detail}\n`)
  if (readers.isFull) return text(503, 'as many readers as there may be listen already\n')
  return { type: 'application/x-ndjson', open: (sink) => readers.open(filter, sink) }
}

/** Routes of the socket. */
export const eventRoutes: AdminRoutes<App> = {
  '/events': { method: 'GET', answer: events },
  '/tap': { method: 'GET', answer: tap },
}
