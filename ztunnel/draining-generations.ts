// SPDX-License-Identifier: Apache-2.0
// The generations of a node that drain: each answers on a socket of its own beside the admin one, whoever started it.
import { readdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { isErrno } from '../mesh/errors/errno.ts'

/** Generations that are asked: those of several supervisors may drain. */
const MAX_ASKED_GENERATIONS = 16
/** What one answers is read to here. */
const MAX_DRAIN_PAGE_BYTES = 4 * 1024 * 1024
/** One that does not answer in time is left out. */
const DRAIN_PAGE_TIMEOUT_MS = 2000
/** Between two looks whether those that were told to end have. */
const END_LOOK_MS = 100
/** What they get beyond their time: closing takes a while. */
const END_GRACE_MS = 2000

/** Where a generation that drains answers. Beside several supervisors pids may be the same. */
export function drainSocket(adminSocket: string): string {
  return `${adminSocket}.drain-${process.pid}-${Date.now().toString(36)}`
}

/** The answers of all that do in time, each parsed; `request` as `GET /generation`. */
export async function askDraining(adminSocket: string, request: string): Promise<readonly unknown[]> {
  const answers = await Promise.all(
    (await sockets(adminSocket)).slice(0, MAX_ASKED_GENERATIONS).map(async (path) => {
      try {
        return [await ask(path, request)]
      } catch (error) {
        // It was killed: nobody else takes its socket away.
        if (isErrno(error, 'ECONNREFUSED')) await rm(path, { force: true })
        return []
      }
    }),
  )
  return answers.flat()
}

/** All end within so many seconds; resolves when they have, or should have. */
export async function endDraining(adminSocket: string, seconds: number): Promise<void> {
  const told = await askDraining(adminSocket, `POST /end?seconds=${seconds}`)
  const endMs = performance.now() + seconds * 1000 + END_GRACE_MS
  while (told.length > 0 && performance.now() < endMs && (await sockets(adminSocket)).length > 0)
    await wait(END_LOOK_MS)
}

async function sockets(adminSocket: string): Promise<readonly string[]> {
  const directory = dirname(adminSocket)
  const prefix = `${basename(adminSocket)}.drain-`
  const names = await readdir(directory).catch(() => [])
  return names
    .filter((name) => name.startsWith(prefix))
    .toSorted()
    .map((name) => join(directory, name))
}

/** Rejects when it does not answer in time. */
function ask(path: string, request: string): Promise<unknown> {
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
        resolve(JSON.parse(body))
      } catch (error) {
        reject(error)
      }
    })
    socket.write(`${request} HTTP/1.1\r\n\r\n`) // its end would be the answer's
  })
}
