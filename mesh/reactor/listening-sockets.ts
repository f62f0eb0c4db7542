// SPDX-License-Identifier: Apache-2.0
// On which TCP ports somebody listens in the namespace of the calling thread, and who waits there to be accepted. Pure but
// for the one file that is read. SPEC linux Documentation/networking/proc_net_tcp.rst: listening sockets come first, so that
// of a pod with many connections only the beginning is read.
import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { formatIp } from '../net/address.ts'

/** A socket that listens. */
export interface ListeningSocket {
  /** Canonical; `0.0.0.0` and `::` for every address. */
  readonly ip: string
  readonly port: number
  /** Connections that stand and that nobody has accepted. */
  readonly waitingCount: number
}

const FILES = ['tcp', 'tcp6'] as const
const LISTEN = '0A'
/** Some 1,700 sockets of a pod in each family; what follows is left out. */
const MAX_LISTENER_BYTES = 262_144

/** Both families; a family that the kernel does not have has none. @throws what reading throws */
export function readListeningSockets(): readonly ListeningSocket[] {
  return FILES.flatMap((name) => parseListeningSockets(readBeginning(`/proc/thread-self/net/${name}`)))
}

/** Reads the text of such a file as far as it goes on with listening sockets. A line that is cut is none. */
export function parseListeningSockets(text: string): readonly ListeningSocket[] {
  const found: ListeningSocket[] = []
  for (const line of text.split('\n').slice(1)) {
    const [, local = '', , state, queues = ''] = line.trim().split(/\s+/)
    if (state !== LISTEN) break
    const [, address = '', port = '', waiting = ''] =
      `${local} ${queues}`.match(/^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]{8}:([0-9A-F]{8})$/) ?? []
    const ip = formatIp(addressBytes(address))
    if (ip === undefined) break
    found.push({ ip, port: Number.parseInt(port, 16), waitingCount: Number.parseInt(waiting, 16) })
  }
  return found
}

/** The kernel writes words of 32 bits in the order of the machine. */
function addressBytes(hex: string): Uint8Array {
  const bytes = Buffer.from(hex, 'hex')
  return IS_LITTLE_ENDIAN && bytes.length % 4 === 0 ? bytes.swap32() : bytes
}
const IS_LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1

function readBeginning(path: string): string {
  if (!existsSync(path)) return ''
  const fd = openSync(path, 'r')
  try {
    const bytes = Buffer.alloc(MAX_LISTENER_BYTES)
    let length = 0
    // The kernel gives a page at a time.
    for (;;) {
      const count = readSync(fd, bytes, length, bytes.length - length, null)
      length += count
      if (count === 0 || length === bytes.length) return bytes.toString('latin1', 0, length)
    }
  } finally {
    closeSync(fd)
  }
}
