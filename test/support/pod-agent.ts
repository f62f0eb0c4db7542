// SPDX-License-Identifier: Apache-2.0
// Runs inside a pod of MeshLab and does what its parent says over IPC: opens TCP connections and reports what
// happens to them. With the argument `serve` it is also the application of the pod.
import { createHash } from 'node:crypto'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { BULK_CHUNKS, bulkChunk } from './bulk-pattern.ts'

/** HTTP: answers with the address of its client, and keeps connections alive. */
const HTTP_PORT = 8080
/** Reads to the end of what the client writes, then answers all of it. */
const MIRROR_PORT = 9000
/** Speaks first, then echoes; `reset` makes it break off. */
const GREETER_PORT = 9001
/** Sends BULK_BYTES of a pattern as fast as its client reads, then ends. */
const BULK_PORT = 9002
/** Reads, says nothing and does not end its half, for HELD_MS. */
const HOLD_PORT = 9003
const HELD_MS = 120_000
/** Says `bye` and ends its half at once, then reads on: what came is told as `<bytes> <sha256>`. */
const FAREWELL_PORT = 9004
/** Breaks off what it has accepted, as the kernel does with what waits for an application that closes its port. */
const BREAKING_PORT = 9005

/** What the parent asks. */
export interface AgentCommand {
  /** `leave`: its application listens no more, and finishes what it has begun. `connect` with the text `paused` reads nothing until `count`, and then tells only how much and which bytes. */
  readonly type: 'connect' | 'write' | 'bulk' | 'end' | 'reset' | 'destroy' | 'count' | 'leave'
  readonly id: number
  readonly ip: string
  readonly port: number
  readonly text: string
}
/**
 * What happened to a connection. Without an id: the agent is up, or what its application has `heard`, as `<port> <what>`: the
 * error of a connection, or what was read of it.
 */
export interface AgentEvent {
  readonly type: 'up' | 'heard' | 'connected' | 'data' | 'end' | 'error' | 'closed'
  readonly id: number
  readonly text: string
}

const sockets = new Map<number, Socket>()
const tell = (type: AgentEvent['type'], id: number, text = ''): void => {
  // A parent that has gone needs no answer; without a callback its absence would be thrown.
  process.send?.({ type, id, text } satisfies AgentEvent, () => {})
}

function open({ id, ip, port, text: mode }: AgentCommand): void {
  const socket = connect({ host: ip, port, allowHalfOpen: true })
  sockets.set(id, socket)
  socket.on('connect', () => tell('connected', id))
  if (mode !== 'paused') {
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => tell('data', id, text))
  }
  socket.on('end', () => tell('end', id))
  socket.on('error', (error: NodeJS.ErrnoException) => tell('error', id, error.code))
  socket.on('close', () => tell('closed', id))
}

/** Reads to the end; says how many bytes there were and their hash. */
function count(socket: Socket, onEnd: (text: string) => void): void {
  const hash = createHash('sha256')
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    bytes += chunk.length
  })
  socket.on('end', () => onEnd(`${bytes} ${hash.digest('hex')}`))
}

function sendBulk(socket: Socket): void {
  let index = 0
  const more = (): void => {
    while (index < BULK_CHUNKS) if (!socket.write(bulkChunk(index++))) return
    socket.end()
    index = Number.POSITIVE_INFINITY
  }
  socket.on('drain', more)
  socket.on('error', () => socket.destroy())
  more()
}

process.on('message', (command: AgentCommand) => {
  const socket = sockets.get(command.id)
  if (command.type === 'connect') open(command)
  else if (command.type === 'write') socket?.write(command.text, 'latin1')
  else if (command.type === 'bulk') {
    if (socket !== undefined) sendBulk(socket)
  } else if (command.type === 'end') socket?.end()
  else if (command.type === 'reset') socket?.resetAndDestroy()
  else if (command.type === 'count') {
    if (socket !== undefined) count(socket, (text) => tell('data', command.id, text))
  } else if (command.type === 'leave') for (const server of servers) server.close()
  else socket?.destroy()
})
process.on('disconnect', () => process.exit())

const servers: Server[] = []
const listening = (server: Server, port: number): Promise<void> => {
  servers.push(server)
  return new Promise((resolve) => server.listen(port, '::', resolve))
}

if (process.argv.includes('serve')) {
  const http = createHttpServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    response.end(`client ${request.socket.remoteAddress?.replace('::ffff:', '')}`) // of both families
  })
  const mirror = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('end', () => socket.end(Buffer.concat(chunks)))
    socket.on('error', () => socket.destroy())
  })
  const greeter = createServer((socket) => {
    socket.write('220 cart\r\n')
    socket.on('error', (error: NodeJS.ErrnoException) => {
      tell('heard', 0, `${GREETER_PORT} ${error.code}`)
      socket.destroy()
    })
    socket.on('data', (chunk: Buffer) => {
      if (chunk.toString('latin1') === 'reset') socket.resetAndDestroy()
    })
    socket.pipe(socket)
  })
  const hold = createServer({ allowHalfOpen: true }, (socket) => {
    socket.resume()
    socket.on('error', () => socket.destroy())
    // Who has read an end hears of no reset any more: without this the application runs out of descriptors in a long test.
    socket.on('end', () => setTimeout(() => socket.destroy(), HELD_MS).unref())
  })
  const farewell = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => {
      tell('heard', 0, `${FAREWELL_PORT} ${error.code}`)
      socket.destroy()
    })
    count(socket, (text) => tell('heard', 0, `${FAREWELL_PORT} ${text}`))
    socket.end('bye\r\n')
  })
  const breaking = createServer((socket) => {
    tell('heard', 0, `${BREAKING_PORT} accepted`)
    socket.resetAndDestroy()
  })
  await Promise.all([
    listening(breaking, BREAKING_PORT),
    listening(http, HTTP_PORT),
    listening(mirror, MIRROR_PORT),
    listening(greeter, GREETER_PORT),
    listening(createServer(sendBulk), BULK_PORT),
    listening(hold, HOLD_PORT),
    listening(farewell, FAREWELL_PORT),
  ])
}
tell('up', 0)
