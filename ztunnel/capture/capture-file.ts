// SPDX-License-Identifier: Apache-2.0
// Frames of the workers' rings as the blocks of a pcapng file. Pure.
import type { CaptureFrame } from '../../mesh/telemetry/capture-ring.ts'
import { PacketConnection, type PacketEnd, pcapngHeader } from '../../mesh/telemetry/pcapng.ts'
import type { CapturedEnds } from '../carry/payload-capture.ts'

/** Connections of one capture whose ends are known at once; bytes of further ones are left out. */
const MAX_CAPTURED_CONNECTIONS = 10_000

/** One file. */
export class CaptureFile {
  readonly #connections = new Map<string, PacketConnection>()
  readonly #name: string

  /** `name`: of the pod. */
  constructor(name: string) {
    this.#name = name
  }

  get header(): Buffer {
    return pcapngHeader(this.#name)
  }

  /** The packets of a frame; none for one whose beginning was lost. */
  blocks(worker: number, { kind, connection, atMs, offset, payload }: CaptureFrame): Buffer {
    const key = `${worker} ${connection}`
    if (kind === 'begin') {
      if (this.#connections.size >= MAX_CAPTURED_CONNECTIONS) return Buffer.alloc(0)
      const { client, server, isWhole } = JSON.parse(payload.toString('utf8')) as CapturedEnds // as: our worker's
      const packets = new PacketConnection(endOf(client), endOf(server))
      this.#connections.set(key, packets)
      return isWhole ? packets.begin(atMs) : Buffer.alloc(0)
    }
    const packets = this.#connections.get(key)
    if (packets === undefined) return Buffer.alloc(0)
    if (kind !== 'end') return packets.data(atMs, kind === 'to-server', offset, payload)
    this.#connections.delete(key)
    return packets.end(atMs)
  }
}

/** `ip:port`; a name in place of an address, as a tunnel may have asked for, is the unspecified one. */
function endOf(text: string): PacketEnd {
  const [, ip = '', port = '0'] = /^\[?(.*?)\]?:(\d{1,5})$/.exec(text) ?? []
  return { ip, port: Number(port) & 0xffff }
}
