// SPDX-License-Identifier: Apache-2.0
// Runs inside a pod: keeps long streams open to an echoing server, all of whose bytes are compared by hash, and opens new
// connections all the time. Told over IPC; one process does for some hundred streams.
import { createHash, type Hash, randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

/** What the parent asks. Each is answered by a LoadReport when it has been done. */
export type LoadCommand =
  /** So many streams more; answered when they all have been greeted. */
  | { readonly type: 'open'; readonly streams: number; readonly ip: string; readonly port: number }
  /** So many new connections a second, as far as the machine gives them; 0 ends, and waits for those under way. */
  | { readonly type: 'connect'; readonly perSecond: number; readonly ip: string; readonly port: number }
  /** How far it is. */
  | { readonly type: 'report' }
  /** Ends the streams and compares what came back with what was sent. */
  | { readonly type: 'finish' }

/** Since the start. */
export interface LoadReport {
  readonly openStreams: number
  /** Streams whose bytes came back as they were sent, to the end. */
  readonly equalStreams: number
  readonly streamBytes: number
  readonly connects: number
  /** What became of streams and connections that were lost. */
  readonly failures: readonly string[]
}

const GREETING = '220 cart\r\n'
const CHUNK_BYTES = 1024
/** Each stream writes so often. */
const WRITE_INTERVAL_MS = 1000
const TICK_MS = 20
/** Connections under way at once: beyond, the machine does not give more. */
const MAX_UNDER_WAY = 100
/** A connection that takes longer is lost. */
const CONNECT_TIMEOUT_MS = 20_000

const failures: string[] = []
const streams = new Set<LongStream>()
let [equalStreams, streamBytes, connects, underWay] = [0, 0, 0, 0]
let ticker: NodeJS.Timeout | undefined

/** Writes now and then, and is echoed. */
class LongStream {
  readonly greeted: Promise<void>
  readonly #socket: Socket
  readonly #sent: Hash = createHash('sha256').update(GREETING)
  readonly #received: Hash = createHash('sha256')
  readonly #ended: Promise<void>
  readonly #writer: NodeJS.Timeout
  #isFinishing = false

  constructor(ip: string, port: number) {
    const socket = connect({ host: ip, port })
    this.#socket = socket
    this.greeted = new Promise((resolve) => socket.once('data', () => resolve()))
    this.#ended = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('data', (chunk: Buffer) => this.#received.update(chunk))
    socket.on('error', (error: NodeJS.ErrnoException) => failures.push(`stream: ${error.code}`))
    socket.on('close', () => {
      if (!this.#isFinishing) failures.push('stream: closed')
      clearInterval(this.#writer)
      streams.delete(this)
    })
    this.#writer = setInterval(() => this.#write(), WRITE_INTERVAL_MS * (0.75 + Math.random() / 2))
    streams.add(this)
  }

  #write(): void {
    const chunk = randomBytes(CHUNK_BYTES)
    this.#sent.update(chunk)
    this.#socket.write(chunk)
    streamBytes += CHUNK_BYTES
  }

  async finish(): Promise<void> {
    clearInterval(this.#writer)
    this.#isFinishing = true
    this.#write()
    this.#socket.end()
    await this.#ended
    if (this.#received.digest('hex') === this.#sent.digest('hex')) equalStreams++
    else failures.push('stream: other bytes')
  }
}

/** Greeted, echoed, ended. */
function connectOnce(ip: string, port: number): void {
  underWay++
  let received = ''
  let error = ''
  const socket = connect({ host: ip, port })
  socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('nothing came')))
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => {
    received += text
    if (received === GREETING) socket.write('ping')
    else if (received === `${GREETING}ping`) socket.end()
  })
  socket.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    error = code ?? message
  })
  socket.on('close', () => {
    underWay--
    connects++
    if (error !== '' || received !== `${GREETING}ping`) failures.push(`connect: ${error} ${received}`)
  })
}

async function keepConnecting({ perSecond, ip, port }: Extract<LoadCommand, { type: 'connect' }>) {
  clearInterval(ticker)
  if (perSecond === 0) {
    while (underWay > 0) await new Promise((resolve) => setTimeout(resolve, TICK_MS))
    return
  }
  const startMs = performance.now()
  let begun = 0
  ticker = setInterval(() => {
    const due = ((performance.now() - startMs) * perSecond) / 1000
    for (; begun < due && underWay < MAX_UNDER_WAY; begun++) connectOnce(ip, port)
    begun = Math.max(begun, Math.floor(due)) // what the machine did not give is not made up for
  }, TICK_MS)
}

async function obey(command: LoadCommand): Promise<void> {
  if (command.type === 'open') {
    const { ip, port } = command
    const opened = Array.from({ length: command.streams }, () => new LongStream(ip, port))
    await Promise.all(opened.map(({ greeted }) => greeted))
  } else if (command.type === 'connect') await keepConnecting(command)
  else if (command.type === 'finish') await Promise.all([...streams].map((stream) => stream.finish()))
}

process.on('message', (command: LoadCommand) => {
  void obey(command).then(() => {
    const openStreams = streams.size
    const report = { openStreams, equalStreams, streamBytes, connects, failures: failures.slice(0, 20) }
    process.send?.(report satisfies LoadReport, () => {})
  })
})
process.on('disconnect', () => process.exit())
