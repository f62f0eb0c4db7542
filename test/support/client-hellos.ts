// SPDX-License-Identifier: Apache-2.0
// First messages of TLS clients: of Node's own, and built field by field, well or badly.
import { Duplex } from 'node:stream'
import { type ConnectionOptions, connect } from 'node:tls'

/** What Node's client says first. */
export function nodeHello(options: ConnectionOptions): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        resolve(chunk)
        done()
      },
    })
    connect({ ...options, socket, rejectUnauthorized: false }).on('error', () => {})
  })
}

const u8 = (value: number): Buffer => Buffer.from([value & 0xff])
const u16 = (value: number): Buffer => Buffer.from([(value >> 8) & 0xff, value & 0xff])
const u24 = (value: number): Buffer => Buffer.concat([u8(value >> 16), u16(value)])
export const withLength = (size: 1 | 2, bytes: Buffer): Buffer =>
  Buffer.concat([size === 1 ? u8(bytes.length) : u16(bytes.length), bytes])

export const extension = (type: number, data: Buffer): Buffer =>
  Buffer.concat([u16(type), withLength(2, data)])

/** The extension of a server name. */
export const serverName = (name: string, type = 0): Buffer =>
  extension(0, withLength(2, Buffer.concat([u8(type), withLength(2, Buffer.from(name, 'latin1'))])))

/** Values that mean nothing, to keep servers tolerant. SPEC RFC8701 */
export const grease = (): Buffer =>
  Buffer.concat([extension(0x0a0a, Buffer.alloc(0)), extension(0xfafa, u8(0))])

export interface HelloParts {
  readonly session?: Buffer
  readonly suites?: Buffer
  readonly compressions?: Buffer
  readonly extensions?: readonly Buffer[]
  /** As it is, in place of the extensions. */
  readonly rest?: Buffer
  readonly type?: number
}

/** The handshake message, without records. */
export function helloMessage(parts: HelloParts): Buffer {
  const { session = Buffer.alloc(32), suites = u16(0x1301), compressions = u8(0), type = 1 } = parts
  const rest = parts.rest ?? withLength(2, Buffer.concat([...(parts.extensions ?? [])]))
  const body = Buffer.concat([
    ...[u16(0x0303), Buffer.alloc(32, 7), withLength(1, session), withLength(2, suites)],
    ...[withLength(1, compressions), rest],
  ])
  return Buffer.concat([u8(type), u24(body.length), body])
}

/** In records of these sizes; the last one has what is left. */
export function inRecords(message: Buffer, sizes: readonly number[] = []): Buffer {
  const records: Buffer[] = []
  let at = 0
  for (const size of [...sizes, message.length]) {
    const part = message.subarray(at, at + size)
    if (part.length > 0) records.push(Buffer.concat([u8(22), u16(0x0301), withLength(2, part)]))
    at += size
  }
  return Buffer.concat(records)
}

export const hello = (...extensions: readonly Buffer[]): Buffer => inRecords(helloMessage({ extensions }))
