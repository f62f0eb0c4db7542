// SPDX-License-Identifier: Apache-2.0
// What holds the generations of a node that drain. Each of them answers on a socket of its own beside the admin one, whoever
// started it; the one that serves asks them all.
import { readdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { type AdminAnswer, type AdminRoutes, json, text } from '../mesh/admin/admin-answers.ts'
import { isErrno } from '../mesh/errors/errno.ts'
import { VERSION } from '../mesh/runtime/version.ts'
import type { App } from './app.ts'
import type { ConnectionReport } from './worker-messages.ts'

/** Connections of a generation that are named, oldest first; all are counted. */
const MAX_NAMED_CONNECTIONS = 1000
/** Generations that are asked: those of several supervisors may drain. */
const MAX_ASKED_GENERATIONS = 16
/** What one answers is read to here. */
const MAX_DRAIN_PAGE_BYTES = 1024 * 1024
/** One that does not answer in time is left out. */
const DRAIN_PAGE_TIMEOUT_MS = 2000

/** A connection that is waited for. */
export interface HeldConnection extends Omit<ConnectionReport, 'uid' | 'worker'> {
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

/** Where a generation that drains says what holds it. Beside several supervisors pids may be the same. */
export function drainSocket(adminSocket: string): string {
  return `${adminSocket}.drain-${process.pid}-${Date.now().toString(36)}`
}

async function ownPage(app: App): Promise<GenerationPage> {
  const answers = app.isDraining ? await app.questions.ask('holders') : []
  const names = new Map(app.pods.map(({ uid, namespace, name }) => [uid, `${namespace}/${name}`]))
  const sum = (count: 'connectionCount' | 'tunnelCount'): number =>
    answers.reduce((total, { answer }) => total + answer[count], 0)
  return {
    pid: process.pid,
    version: VERSION,
    startedAt: new Date(app.startedMs).toISOString(),
    drainingSince: app.drainingSinceMs === null ? null : new Date(app.drainingSinceMs).toISOString(),
    connectionCount: sum('connectionCount'),
    idleTunnelCount: sum('tunnelCount'),
    connections: answers
      .flatMap(({ answer }) => answer.connections)
      .toSorted((left, right) => right.ageMs - left.ageMs)
      .slice(0, MAX_NAMED_CONNECTIONS)
      .map(({ uid, worker: _, ...connection }) => ({ pod: names.get(uid) ?? uid, ...connection })),
  }
}

async function drainingPages(adminSocket: string): Promise<readonly GenerationPage[]> {
  const directory = dirname(adminSocket)
  const prefix = `${basename(adminSocket)}.drain-`
  const names = (await readdir(directory)).filter((name) => name.startsWith(prefix)).toSorted()
  const pages = await Promise.all(
    names.slice(0, MAX_ASKED_GENERATIONS).map(async (name) => {
      const path = join(directory, name)
      try {
        return await askPage(path)
      } catch (error) {
        // It was killed: nobody else takes its socket away.
        if (isErrno(error, 'ECONNREFUSED')) await rm(path, { force: true })
        return null
      }
    }),
  )
  return pages.flatMap((page) => page ?? [])
}

/** Rejects when it does not answer in time. */
function askPage(path: string): Promise<GenerationPage> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    let received = ''
    socket.setTimeout(DRAIN_PAGE_TIMEOUT_MS, () => socket.destroy(new Error(`${path}: no answer`)))
    socket.setEncoding('utf8')
    socket.on('data', (chunk: string) => {
      received += chunk
      if (received.length > MAX_DRAIN_PAGE_BYTES) socket.destroy(new Error(`${path}: too long`))
    })
    socket.on('error', reject)
    socket.on('end', () => {
      const [head = '', body = ''] = received.split(/\r\n\r\n(.*)/s)
      try {
        if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(`${path}: ${head.slice(0, 40)}`)
        resolve(JSON.parse(body) as GenerationPage) // as: another version of this program
      } catch (error) {
        reject(error)
      }
    })
    socket.write('GET /generation HTTP/1.1\r\n\r\n') // its end would be the answer's
  })
}

/** What this process waits for, and those before it: those that drain are in `generations`. */
async function drain(app: App): Promise<AdminAnswer> {
  const [own, generations] = await Promise.all([ownPage(app), drainingPages(app.config.adminSocket)])
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

/** What a generation answers that drains. */
export const drainRoutes: AdminRoutes<App> = {
  '/generation': { method: 'GET', answer: async (app) => json(await ownPage(app)) },
}
