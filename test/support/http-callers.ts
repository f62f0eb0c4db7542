// SPDX-License-Identifier: Apache-2.0
// Program inside a pod: callers of HTTP/1.1 that each ask again as soon as they are answered, as usual clients do: on a
// connection that is kept as long as the server keeps it, or on a new one for each request. A line on stdin is answered by
// how far they are; its end ends them.
// usage: node http-callers.ts IP PORT CALLERS keep|new
import { Agent, request } from 'node:http'
import { createInterface } from 'node:readline'

/** How far they are. */
export interface CallersProgress {
  readonly answered: number
  /** Connections opened since the start. */
  readonly connections: number
  /** The first requests that got no 200, and why. */
  readonly failures: readonly string[]
}

const MAX_TOLD_FAILURES = 10
/** Between two requests of a caller: all of them take a small part of the machine. */
const PAUSE_MS = 20

const [host = '', port = '', callers = '0', mode = ''] = process.argv.slice(2)
const failures: string[] = []
let [answered, connections, isOver] = [0, 0, false]

function fail(reason: string): void {
  if (failures.length < MAX_TOLD_FAILURES) failures.push(reason)
}

function ask(agent: Agent): void {
  if (isOver) return
  const next = (): void => void setTimeout(() => ask(agent), PAUSE_MS)
  const asked = request({ host, port: Number(port), agent, headers: { host: 'web' } }, (response) => {
    const status = response.statusCode ?? 0
    response.resume()
    response.on('end', () => {
      if (status === 200) answered++
      else fail(`${status} ${response.headers['x-sidestep-reason']}`)
      next()
    })
  })
  asked.on('socket', (socket) => {
    if (!asked.reusedSocket) connections++
    socket.setNoDelay()
  })
  asked.on('error', (error: NodeJS.ErrnoException) => {
    fail(`${error.code ?? error.message}${asked.reusedSocket ? ', on a kept connection' : ''}`)
    next()
  })
  asked.end()
}

for (let index = 0; index < Number(callers); index++)
  ask(new Agent({ keepAlive: mode === 'keep', maxSockets: 1 }))
const lines = createInterface(process.stdin)
lines.on('line', () => {
  process.stdout.write(`${JSON.stringify({ answered, connections, failures } satisfies CallersProgress)}\n`)
})
lines.on('close', () => {
  isOver = true
  setTimeout(() => process.exit(0), 200)
})
