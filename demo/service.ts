// SPDX-License-Identifier: Apache-2.0
// The process of one pod: an HTTP service, and a client that calls where its parent says. It knows nothing of the
// mesh. It ends with its parent's channel.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { parseArgs } from 'node:util'
import { SERVICE_PORT } from './plan.ts'
import { connectSocks5 } from './socks5-client.ts'

/** A call to make, from the parent. */
export interface CallRequest {
  readonly id: number
  readonly ip: string
  readonly port: number
  readonly path: string
  /** Sent as the body; '' makes it a GET. */
  readonly body: string
}
/** What came of it. `status` is 0 when there was no answer; `text` says why then. */
export interface CallAnswer {
  readonly id: number
  readonly status: number
  readonly text: string
}

const CALL_TIMEOUT_MS = 5000
/** More than any order of the demo. */
const MAX_ORDER_BYTES = 1_048_576

const { values } = parseArgs({
  options: {
    name: { type: 'string', default: '' },
    address: { type: 'string', default: '' },
    socks: { type: 'string', default: '' },
  },
})

async function textOf(message: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of message.setEncoding('utf8')) {
    text += chunk
    if (text.length > MAX_ORDER_BYTES) throw new Error('body too large')
  }
  return text
}

async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await textOf(incoming)
  const answer = {
    service: values.name,
    caller: incoming.socket.remoteAddress ?? '',
    path: incoming.url ?? '',
    bodyBytes: Buffer.byteLength(body),
    bodySha256: createHash('sha256').update(body).digest('hex'),
  }
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(answer)}\n`)
}

/** One call on a connection of its own, so that one call is one record. */
async function call({ id, ip, port, path, body }: CallRequest): Promise<CallAnswer> {
  const signal = AbortSignal.timeout(CALL_TIMEOUT_MS)
  let socket: Socket | null = null
  try {
    if (values.socks !== '') socket = await connectSocks5(values.socks, ip, port, signal)
    const own = socket
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = request({
        host: ip,
        port,
        path,
        method: body === '' ? 'GET' : 'POST',
        headers: { connection: 'close' },
        signal,
        // An agent would ignore createConnection and dial by itself, past the mesh.
        ...(own === null ? { agent: false } : { createConnection: () => own }),
      })
      outgoing.once('response', resolve).once('error', reject)
      outgoing.end(body)
    })
    return { id, status: response.statusCode ?? 0, text: await textOf(response) }
  } catch (error) {
    return { id, status: 0, text: error instanceof Error ? error.message : String(error) }
  } finally {
    socket?.destroy() // node:http leaves a connection open that it did not make
  }
}

const server = createServer((incoming, response) => {
  void serve(incoming, response).catch(() => response.destroy())
})
process.on('disconnect', () => {
  server.close()
  server.closeAllConnections()
})
process.on('message', (message: CallRequest) => {
  void call(message).then((answer) => process.send?.(answer))
})
// Ctrl-C reaches the whole process group: the parent decides when this process ends.
process.on('SIGINT', () => {})
server.listen(SERVICE_PORT, values.address, () => {
  process.send?.({ id: 0, status: 0, text: 'listening' } satisfies CallAnswer)
})
