// SPDX-License-Identifier: Apache-2.0
// What the load generators share: connecting from a chosen address, the request, arguments in and one JSON line out.
import { writeSync } from 'node:fs'
import { type Block, HEADROOM_BYTES } from '../../mesh/reactor/byte-stream.ts'
import { AF_INET, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { bind } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { encodeSocketAddress } from '../../mesh/reactor/socket-address.ts'
import { createSocket, setBindWithoutPort, systemError } from '../../mesh/reactor/socket-options.ts'
import { type ConnectHandler, startConnect } from '../../mesh/reactor/tcp-connect.ts'

/** Longer than any proxy's own connect timeout: theirs is what is seen. */
const CONNECT_TIMEOUT_MS = 20_000

/** Where the load goes. */
export interface Target {
  readonly ip: string
  readonly port: number
}

/** Connects; `source` '' leaves the address to the kernel. */
export function dial(reactor: Reactor, target: Target, source: string, handler: ConnectHandler): void {
  const fd = createSocket(AF_INET, SOCK_STREAM)
  if (source !== '') {
    setBindWithoutPort(fd) // ports are chosen per connect: bound ones would run out
    const { address, bytes } = encodeSocketAddress(source, 0)
    if (bind(fd, address, bytes) !== 0) throw systemError(`bind ${source}`)
  }
  startConnect(reactor, fd, target.ip, target.port, CONNECT_TIMEOUT_MS, handler)
}

/** The bytes of a small GET; write `[HEADROOM_BYTES, block.bytes.length)`. */
export function requestBlock(keepsAlive: boolean): Block {
  const text = `GET / HTTP/1.1\r\nHost: bench\r\n${keepsAlive ? '' : 'Connection: close\r\n'}\r\n`
  const block = allocateBlock(HEADROOM_BYTES + text.length)
  block.bytes.write(text, HEADROOM_BYTES, 'latin1')
  return block
}

/** The program's settings. */
export function programArguments<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T // as: processes.ts passes what this program declares
}

/** The program's answer, written at once: nothing returns to libuv while a reactor runs. */
export function answer(value: unknown): void {
  writeSync(1, `${JSON.stringify(value)}\n`)
}
