// SPDX-License-Identifier: Apache-2.0
// A caller of HTTP/2 whose requests are silent on one connection, each in its way; says what became of each as JSON.
// usage: node silent-caller.ts HOST PORT SILENT_MS
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2'
import { setTimeout as wait } from 'node:timers/promises'

/** What became of one request. */
export interface Silence {
  readonly status: number
  /** Of an answer that the waypoint gave itself; ''. */
  readonly reason: string
  /** Bytes of the answer. */
  readonly bytes: number
  /** Of RST_STREAM: 0 is NO_ERROR, and what a stream has that ended in order. */
  readonly reset: number
  readonly afterMs: number
}

/** By what they do. */
export interface Silences {
  /** Begins a body, and sends nothing more. */
  readonly stalled: Silence
  /** Its answer has begun: silent for a while, then it ends. */
  readonly answered: Silence
  /** A call of gRPC that says nothing for a while. */
  readonly call: Silence
  /** Has no body: waits for its answer. */
  readonly waiting: Silence
  /** A byte now and then. */
  readonly slow: Silence
  /** Sends more than fits on the way, to a service that reads nothing for a while. */
  readonly unread: Silence
}

const UNREAD_BYTES = 8_000_000
/** Of a session, in megabytes: Node resets what comes on one that has more in memory. */
const SESSION_MEMORY = 64
const startedMs = performance.now()

/** `send` writes the body. */
function ask(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  send: (write: (bytes: string | Buffer) => void, end: () => void) => void,
): Promise<Silence> {
  const stream = session.request({ ':method': 'POST', ':authority': 'web', ...headers }, { endStream: false })
  let answer = { status: 0, reason: '', bytes: 0 }
  stream.on('response', (fields) => {
    const { ':status': status = 0, 'x-sidestep-reason': reason } = fields
    answer = { ...answer, status, reason: String(reason ?? '') }
  })
  stream.on('data', (chunk: Buffer) => {
    answer = { ...answer, bytes: answer.bytes + chunk.length }
  })
  stream.on('error', () => {})
  send(
    (bytes) => void stream.write(bytes),
    () => void stream.end(),
  )
  return new Promise((resolve) => {
    stream.on('close', () => {
      resolve({ ...answer, reset: stream.rstCode ?? 0, afterMs: Math.round(performance.now() - startedMs) })
    })
  })
}

const [host = '', port = '', silent = '0'] = process.argv.slice(2)
const silentMs = Number(silent)
const session = connect(`http://${host}:${port}`, { maxSessionMemory: SESSION_MEMORY })
const asked = {
  stalled: ask(session, { ':path': '/stalled' }, (write) => write('some of it')),
  answered: ask(session, { ':path': '/slow/answered' }, async (write, end) => {
    write('begun')
    await wait(silentMs)
    end()
  }),
  call: ask(session, { ':path': '/call', 'content-type': 'application/grpc' }, async (write, end) => {
    await wait(silentMs)
    write('said at last')
    end()
  }),
  waiting: ask(session, { ':path': `/?delay=${silentMs}` }, (_write, end) => end()),
  slow: ask(session, { ':path': '/byte-by-byte' }, async (write, end) => {
    for (let sentMs = 0; sentMs < silentMs; sentMs += 1000) {
      write('x')
      await wait(1000)
    }
    end()
  }),
  unread: ask(session, { ':path': `/slow/unread?delay=${silentMs}` }, (write, end) => {
    write(Buffer.alloc(UNREAD_BYTES))
    end()
  }),
}
const told = await Promise.all(Object.entries(asked).map(async ([name, silence]) => [name, await silence]))
process.stdout.write(JSON.stringify(Object.fromEntries(told)))
session.destroy()
