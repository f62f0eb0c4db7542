// SPDX-License-Identifier: Apache-2.0
// What holds the generations of a node that drain. Each of them answers on a socket of its own beside the admin one, whoever
// started it; the one that serves asks them all.
import { type AdminAnswer, type AdminRoutes, json, text } from '../mesh/admin/admin-answers.ts'
import { VERSION } from '../mesh/runtime/version.ts'
import type { App } from './app.ts'
import { askDraining } from './draining-generations.ts'
import type { ConnectionReport } from './worker-messages.ts'

/** Connections of a generation that are named, oldest first; all are counted. */
const MAX_NAMED_CONNECTIONS = 1000

/** A connection that is waited for. */
export interface HeldConnection extends ConnectionReport {
  /** namespace/name */
  readonly pod: string
}

/** A generation that drains, or serves. */
export interface GenerationPage {
  readonly pid: number
  readonly version: string
  readonly startedAt: string
  /** null: it serves. */
  readonly drainingSince: string | null
  readonly connectionCount: number
  /** Tunnels without a stream, of peers that have not closed them yet. */
  readonly idleTunnelCount: number
  readonly connections: readonly HeldConnection[]
}

async function ownPage(app: App): Promise<GenerationPage> {
  const answers = app.isDraining ? await app.questions.ask('holders') : []
  const { sinceMs } = app.draining
  const names = new Map(app.pods.map(({ uid, namespace, name }) => [uid, `${namespace}/${name}`]))
  const sum = (count: 'connectionCount' | 'tunnelCount'): number =>
    answers.reduce((total, { answer }) => total + answer[count], 0)
  return {
    pid: process.pid,
    version: VERSION,
    startedAt: new Date(app.startedMs).toISOString(),
    drainingSince: sinceMs === null ? null : new Date(sinceMs).toISOString(),
    connectionCount: sum('connectionCount'),
    idleTunnelCount: sum('tunnelCount'),
    connections: answers
      .flatMap(({ answer }) => answer.connections)
      .toSorted((left, right) => right.ageMs - left.ageMs)
      .slice(0, MAX_NAMED_CONNECTIONS)
      .map((connection) => ({ pod: names.get(connection.uid) ?? connection.uid, ...connection })),
  }
}

/** Those of this process, and the oldest ones of each that drains; `drainingPid` says which. */
export async function allConnections(
  app: App,
): Promise<readonly (ConnectionReport & { readonly drainingPid?: number })[]> {
  const [own, generations] = await Promise.all([
    app.questions.ask('connections'),
    app.isDraining ? [] : generationsBefore(app),
  ])
  return [
    ...own.flatMap(({ answer }) => answer),
    ...generations.flatMap(({ pid, connections }) =>
      connections.map((connection) => ({ ...connection, drainingPid: pid })),
    ),
  ]
}

async function generationsBefore({ config }: App): Promise<readonly GenerationPage[]> {
  const pages = await askDraining(config.adminSocket, 'GET /generation')
  return pages.map((page) => page as GenerationPage) // as: another version of this program
}

/** What this process waits for, and those before it: those that drain are in `generations`. */
async function drain(app: App): Promise<AdminAnswer> {
  const [own, generations] = await Promise.all([ownPage(app), generationsBefore(app)])
  return json({
    isDraining: app.isDraining,
    ...own,
    generations: generations.filter(({ pid, startedAt }) => pid !== own.pid || startedAt !== own.startedAt),
  })
}

async function upgrade(app: App): Promise<AdminAnswer> {
  const refusal = await app.upgrades.ask()
  return refusal === null ? text(200, 'the next data process starts\n') : text(409, `${refusal}\n`)
}

/** Routes of the admin socket. */
export const generationRoutes: AdminRoutes<App> = {
  '/drain': { method: 'GET', answer: drain },
  '/upgrade': { method: 'POST', answer: upgrade },
}

/** The ztunnel of the node ends, and what it had before too. */
function endIn(app: App, query: URLSearchParams): AdminAnswer {
  const seconds = Number(query.get('seconds'))
  if (!Number.isInteger(seconds) || seconds < 0) return text(400, 'seconds is a number\n')
  void app.drain(seconds)
  return json({ seconds })
}

/** What a generation answers that drains. */
export const drainRoutes: AdminRoutes<App> = {
  '/generation': { method: 'GET', answer: async (app) => json(await ownPage(app)) },
  '/counts': {
    method: 'GET',
    answer: ({ drained }) => ({
      status: 200,
      type: 'application/json',
      body: JSON.stringify(drained.page()),
    }),
  },
  '/end': { method: 'POST', answer: endIn },
}
