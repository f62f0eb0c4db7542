// SPDX-License-Identifier: Apache-2.0
// A SOCKS5 client (RFC 1928, no authentication, CONNECT to an IPv4 address): how a process without a network
// namespace of its own enters the mesh.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { SOCKS5_PORT } from '../mesh/net/mesh-ports.ts'

const VERSION = 5
const CONNECT = 1
const IPV4 = 1
/** Reply with an IPv4 address: version, reply, reserved, type, address, port. */
const REPLY_BYTES = 10

async function readExactly(socket: Socket, bytes: number, signal: AbortSignal): Promise<Buffer> {
  for (;;) {
    const chunk: Buffer | null = socket.read(bytes)
    if (chunk !== null && chunk.length === bytes) return chunk
    if (chunk !== null || socket.readableEnded || socket.destroyed)
      throw new Error('SOCKS5: connection closed')
    await Promise.race([once(socket, 'readable', { signal }), once(socket, 'close', { signal })])
  }
}

/** A connection to `ip:port` through the mesh's SOCKS5 listener on `proxy`. */
export async function connectSocks5(
  proxy: string,
  ip: string,
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = connect({ host: proxy, port: SOCKS5_PORT, signal })
  try {
    await once(socket, 'connect', { signal })
    socket.write(Buffer.from([VERSION, 1, 0]))
    const [version, method] = await readExactly(socket, 2, signal)
    if (version !== VERSION || method !== 0) throw new Error('SOCKS5: not accepted')
    const target = [...ip.split('.').map(Number), port >> 8, port & 0xff]
    socket.write(Buffer.from([VERSION, CONNECT, 0, IPV4, ...target]))
    const reply = await readExactly(socket, REPLY_BYTES, signal)
    if (reply[1] !== 0) throw new Error(`SOCKS5: refused with reply ${reply[1]}`)
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}
