// SPDX-License-Identifier: Apache-2.0
// Routes of the admin API about events: `/events`, the last ones of each pod.
import { type AdminAnswer, type AdminRoutes, json } from '../admin-answers.ts'
import type { App } from '../app.ts'
import { parseLine } from './event-line.ts'

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

/** Routes of the socket. */
export const eventRoutes: AdminRoutes = {
  '/events': { method: 'GET', answer: events },
}
