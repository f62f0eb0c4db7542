// SPDX-License-Identifier: Apache-2.0
// A destination whose tunnels break: node's TLS on port 15008 of its namespace, frames written by hand, apart from the product's
// own codec. Which way it breaks is a line on its standard input; each CONNECT and each connection is a line of its output.
import { writeSync } from 'node:fs'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { TLSSocket } from 'node:tls'
import { END_HEADERS, FRAME_TYPE, frame, PREFACE } from './tunnel-attacker.ts'

/** When it breaks, and how. */
export const BREAKS = [
  /** Not at all: 200, some bytes. */
  'never',
  /** RST as soon as it has accepted. */
  'accept',
  /** RST at the first byte of the handshake. */
  'hello',
  /** RST after the handshake. */
  'secure',
  /** RST at the preface of HTTP/2. */
  'preface',
  /** RST at the CONNECT. */
  'connect',
  /** RST_STREAM instead of an answer. */
  'reset-stream',
  /** GOAWAY that processed nothing, on every connection, at once. */
  'goaway-first',
  /** GOAWAY that processed nothing, instead of an answer. */
  'goaway-connect',
  /** 200, some bytes, RST. */
  'answered',
  /** 200, some bytes, RST_STREAM. */
  'answered-reset',
  /** 200, an end of its half, RST. */
  'half',
  /** 200, then GOAWAY again and again. */
  'goaway-storm',
  /** 200, then it reads no more. */
  'silent',
  /** Answers CONNECT with what cannot be read. */
  'garbage',
] as const
export type Break = (typeof BREAKS)[number]

/** What it is started with. */
export interface BreakingPeerOptions {
  readonly ip: string
  readonly certificatePem: string
  readonly privateKeyPem: string
}

const HBONE_PORT = 15_008
const END_STREAM = 1
const STORM_FRAMES = 50_000
const settings = frame(FRAME_TYPE.SETTINGS, 0, 0, Buffer.alloc(0))
const settingsAck = frame(FRAME_TYPE.SETTINGS, 1, 0, Buffer.alloc(0))
/** `:status: 200`, from the static table. */
const OK = Buffer.from([0x88])
const INTERNAL_ERROR = Buffer.from([0, 0, 0, 2])

function tell(line: string): void {
  writeSync(1, `${line}\n`)
}

function goaway(lastStream: number): Buffer {
  const payload = Buffer.alloc(8)
  payload.writeUInt32BE(lastStream, 0)
  return frame(FRAME_TYPE.GOAWAY, 0, 0, payload)
}

class BreakingPeer {
  readonly #options: BreakingPeerOptions
  readonly #open = new Set<Socket>()
  #how: Break = 'accept'

  constructor(options: BreakingPeerOptions) {
    this.#options = options
  }

  /** Breaks whatever is open. */
  become(how: Break): void {
    this.#how = how
    for (const raw of this.#open) raw.resetAndDestroy()
  }

  listen(): void {
    const server = createTcpServer((raw) => this.#accept(raw))
    server.listen(HBONE_PORT, this.#options.ip, () => tell('up'))
  }

  #accept(raw: Socket): void {
    const how = this.#how
    tell('connection')
    this.#open.add(raw)
    raw.on('error', () => {})
    raw.on('close', () => this.#open.delete(raw))
    if (how === 'accept') raw.resetAndDestroy()
    else if (how === 'hello') raw.once('data', () => raw.resetAndDestroy())
    else this.#secure(raw, how)
  }

  #secure(raw: Socket, how: Break): void {
    const { certificatePem, privateKeyPem } = this.#options
    const tls = new TLSSocket(raw, {
      ...{ isServer: true, cert: certificatePem, key: privateKeyPem, ALPNProtocols: ['h2'] },
      ...{ requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3' },
    })
    tls.on('error', () => {})
    let received = Buffer.alloc(0)
    let hasStarted = false
    tls.once('secure', () => {
      if (how === 'secure') raw.resetAndDestroy()
      if (how === 'goaway-first') tls.write(Buffer.concat([settings, goaway(0)]))
    })
    tls.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (!hasStarted) {
        if (received.length < PREFACE.length) return
        received = received.subarray(PREFACE.length)
        hasStarted = true
        if (how === 'preface') {
          raw.resetAndDestroy()
          return
        }
        if (how !== 'goaway-first') tls.write(Buffer.concat([settings, settingsAck]))
      }
      while (received.length >= 9) {
        const end = 9 + received.readUIntBE(0, 3)
        if (received.length < end) return
        const isConnect = received[3] === FRAME_TYPE.HEADERS
        const stream = received.readUInt32BE(5)
        received = received.subarray(end)
        if (isConnect) this.#onConnect(raw, tls, stream, how)
      }
    })
  }

  #onConnect(raw: Socket, tls: TLSSocket, stream: number, how: Break): void {
    tell('connect')
    const headers = frame(FRAME_TYPE.HEADERS, END_HEADERS, stream, OK)
    const data = frame(FRAME_TYPE.DATA, 0, stream, Buffer.from('hello'))
    const reset = frame(FRAME_TYPE.RST_STREAM, 0, stream, INTERNAL_ERROR)
    const breakAfter = (...frames: readonly Buffer[]): void => {
      // As one write and a little later: a reset overtakes what waits in the kernel.
      tls.write(Buffer.concat(frames), () => setTimeout(() => raw.resetAndDestroy(), 100))
    }
    switch (how) {
      case 'never':
        tls.write(Buffer.concat([headers, data]))
        break
      case 'connect':
        raw.resetAndDestroy()
        break
      case 'reset-stream':
        tls.write(reset)
        break
      case 'goaway-connect':
        tls.write(goaway(0))
        break
      case 'answered':
        breakAfter(headers, data)
        break
      case 'answered-reset':
        tls.write(Buffer.concat([headers, data, reset]))
        break
      case 'half':
        breakAfter(headers, frame(FRAME_TYPE.DATA, END_STREAM, stream, Buffer.from('hello')))
        break
      case 'goaway-storm':
        tls.write(Buffer.concat([headers, data]))
        for (let sent = 0; sent < STORM_FRAMES; sent++) tls.write(goaway(stream))
        break
      case 'silent':
        tls.write(Buffer.concat([headers, data]))
        tls.pause()
        raw.pause()
        break
      case 'garbage':
        tls.write(frame(FRAME_TYPE.HEADERS, END_HEADERS, stream, Buffer.from([0xff, 0xff, 0xff, 0x7f])))
        break
      default:
    }
  }
}

const peer = new BreakingPeer(JSON.parse(process.argv[2] ?? '') as BreakingPeerOptions) // as: its test wrote it
createInterface(process.stdin)
  .on('line', (line) => {
    peer.become(line as Break) // as: its test writes them
    tell(`as ${line}`)
  })
  .on('close', () => process.exit(0))
peer.listen()
