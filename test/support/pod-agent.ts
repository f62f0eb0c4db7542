// SPDX-License-Identifier: Apache-2.0
// Runs inside a pod of MeshLab and does what its parent says over IPC: opens TCP connections and reports what
// happens to them. With the argument `serve` it is also the application of the pod.
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** HTTP: answers with the address of its client, and keeps connections alive. */
const HTTP_PORT = 8080
/** Reads to the end of what the client writes, then answers all of it. */
const MIRROR_PORT = 9000
/** Speaks first, then echoes. */
const GREETER_PORT = 9001

/** What the parent asks. */
export interface AgentCommand {
  readonly type: 'connect' | 'write' | 'end' | 'destroy'
  readonly id: number
  readonly ip: string
  readonly port: number
  readonly text: string
}
/** What happened to a connection; without an id: the agent is up. */
export interface AgentEvent {
  readonly type: 'up' | 'connected' | 'data' | 'end' | 'error' | 'closed'
  readonly id: number
  readonly text: string
}

const sockets = new Map<number, Socket>()
const tell = (type: AgentEvent['type'], id: number, text = ''): void => {
  process.send?.({ type, id, text } satisfies AgentEvent)
}

function open({ id, ip, port }: AgentCommand): void {
  const socket = connect({ host: ip, port, allowHalfOpen: true })
  sockets.set(id, socket)
  socket.setEncoding('latin1')
  socket.on('connect', () => tell('connected', id))
  socket.on('data', (text: string) => tell('data', id, text))
  socket.on('end', () => tell('end', id))
  socket.on('error', (error: NodeJS.ErrnoException) => tell('error', id, error.code))
  socket.on('close', () => tell('closed', id))
}

process.on('message', (command: AgentCommand) => {
  const socket = sockets.get(command.id)
  if (command.type === 'connect') open(command)
  else if (command.type === 'write') socket?.write(command.text, 'latin1')
  else if (command.type === 'end') socket?.end()
  else socket?.destroy()
})
process.on('disconnect', () => process.exit())

const listening = (server: Server, port: number): Promise<void> =>
  new Promise((resolve) => server.listen(port, '0.0.0.0', resolve))

if (process.argv.includes('serve')) {
  const http = createHttpServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    response.end(`client ${request.socket.remoteAddress}`)
  })
  const mirror = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('end', () => socket.end(Buffer.concat(chunks)))
    socket.on('error', () => socket.destroy())
  })
  const greeter = createServer((socket) => {
    socket.write('220 cart\r\n')
    socket.on('error', () => socket.destroy())
    socket.pipe(socket)
  })
  await Promise.all([
    listening(http, HTTP_PORT),
    listening(mirror, MIRROR_PORT),
    listening(greeter, GREETER_PORT),
  ])
}
tell('up', 0)
