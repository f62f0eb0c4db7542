// SPDX-License-Identifier: Apache-2.0
// A peer of a tunnel port that says whatever a test wants: node's TLS over a connection inside a pod, then bytes. The
// frames are written by hand, apart from the product's own codec.
import { Duplex } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import type { TestCertificate } from './certificates.ts'
import { type LabSocket, poll } from './mesh-lab.ts'

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
export const FRAME_TYPE = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  CONTINUATION: 9,
} as const
export const END_HEADERS = 4

/** One frame; `declaredBytes` may lie. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer,
  declaredBytes = payload.length,
): Buffer {
  const header = Buffer.alloc(9)
  header.writeUIntBE(declaredBytes, 0, 3)
  header[3] = type
  header[4] = flags
  header.writeUInt32BE(stream, 5)
  return Buffer.concat([header, payload])
}

/** A header block of literals that touch no table (RFC 7541 §6.2.2), without Huffman. */
export function literals(fields: Readonly<Record<string, string>>): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1')
    if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes])
    const length = [127]
    for (let rest = bytes.length - 127; ; rest = Math.floor(rest / 128)) {
      if (rest < 128) {
        length.push(rest)
        break
      }
      length.push(128 + (rest % 128))
    }
    return Buffer.concat([Buffer.from(length), bytes])
  }
  return Buffer.concat(
    Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  )
}

/** The CONNECT of a stream. */
export function connectFrame(stream: number, authority: string): Buffer {
  const block = literals({ ':method': 'CONNECT', ':authority': authority })
  return frame(FRAME_TYPE.HEADERS, END_HEADERS, stream, block)
}

/** TLS 1.3 with ALPN h2 over `raw`; no certificate of ours when `own` is null. */
export class TunnelAttacker {
  isSecure = false
  isClosed = false
  /** What node says went wrong. */
  failure = ''
  readonly tls: TLSSocket
  #received = Buffer.alloc(0)

  constructor(raw: LabSocket, own: TestCertificate | null) {
    this.tls = connect({
      socket: duplexOf(raw),
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
      rejectUnauthorized: false, // we are the bad one
      ...(own === null ? {} : { cert: own.certificatePem, key: own.privateKeyPem }),
    })
    this.tls.on('secureConnect', () => {
      this.isSecure = true
    })
    this.tls.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
    })
    this.tls.on('error', (error: NodeJS.ErrnoException) => {
      this.failure ||= error.code ?? error.message
    })
    this.tls.on('end', () => {
      this.isClosed = true
    })
    this.tls.on('close', () => {
      this.isClosed = true
    })
  }

  /** Frames received so far: type, stream and payload. */
  frames(): Array<{ readonly type: number; readonly stream: number; readonly payload: Buffer }> {
    const frames = []
    for (let at = 0; at + 9 <= this.#received.length; ) {
      const bytes = this.#received.readUIntBE(at, 3)
      if (at + 9 + bytes > this.#received.length) break
      frames.push({
        type: this.#received[at + 3] ?? -1,
        stream: this.#received.readUInt32BE(at + 5),
        payload: this.#received.subarray(at + 9, at + 9 + bytes),
      })
      at += 9 + bytes
    }
    return frames
  }

  /** The error code of the GOAWAY, or null. */
  goaway(): number | null {
    const last = this.frames().findLast(({ type }) => type === FRAME_TYPE.GOAWAY)
    return last === undefined ? null : last.payload.readUInt32BE(4)
  }

  /** Waits until the peer has ended us. */
  async ended(): Promise<void> {
    await poll('the end of the attacker', () => this.isClosed || this.failure !== '' || null).catch(
      (error: Error) => {
        throw new Error(`${error.message}: ${JSON.stringify(this.frames().map(({ type }) => type))}`)
      },
    )
  }

  destroy(): void {
    this.tls.destroy()
  }
}

/** The connection as node's streams want it. */
function duplexOf(raw: LabSocket): Duplex {
  const duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      raw.write(chunk.toString('latin1'))
      done()
    },
    final(done) {
      raw.end()
      done()
    },
    destroy(_error, done) {
      raw.destroy()
      done(null)
    },
  })
  const onEvent = raw.onEvent.bind(raw)
  raw.onEvent = (event) => {
    onEvent(event)
    if (event.type === 'data') duplex.push(Buffer.from(event.text, 'latin1'))
    else if (event.type === 'end' || event.type === 'closed') duplex.push(null)
  }
  return duplex
}
