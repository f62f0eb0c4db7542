// SPDX-License-Identifier: Apache-2.0
// Reads a pcapng file of TCP strictly: lengths, checksums, sequence numbers; gives what each end has sent.

/** What came out of it. */
export interface ReadCapture {
  readonly interfaceName: string
  readonly packetCount: number
  /** By `ip:port>ip:port`. */
  readonly flows: ReadonlyMap<string, string>
  readonly flags: readonly string[]
}

function sumOf(bytes: Buffer): number {
  const even = bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)])
  let sum = 0
  for (let at = 0; at < even.length; at += 2) sum += even.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return sum
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}

/** @throws Error for what no strict reader would take */
export function readPcapng(file: Buffer): ReadCapture {
  const flows = new Map<string, string>()
  const next = new Map<string, number>()
  const flags: string[] = []
  let [interfaceName, packetCount] = ['', 0]
  expect(file.readUInt32LE(0) === 0x0a0d0d0a && file.readUInt32LE(8) === 0x1a2b3c4d, 'no section')
  for (let at = 0; at < file.length; ) {
    const [type, length] = [file.readUInt32LE(at), file.readUInt32LE(at + 4)]
    expect(length % 4 === 0 && at + length <= file.length, `a block of ${length} bytes`)
    expect(file.readUInt32LE(at + length - 4) === length, 'the lengths of a block differ')
    const body = file.subarray(at + 8, at + length - 4)
    if (type === 1) {
      expect(body.readUInt16LE(0) === 1 && body.readUInt16LE(8) === 2, 'no Ethernet, or no name')
      interfaceName = body.toString('utf8', 12, 12 + body.readUInt16LE(10))
    } else if (type === 6) {
      packetCount++
      expect(body.readUInt32LE(12) === body.readUInt32LE(16), 'a packet is cut')
      readPacket(body.subarray(20, 20 + body.readUInt32LE(12)), flows, next, flags)
    }
    at += length
  }
  return { interfaceName, packetCount, flows, flags }
}

function readPacket(
  packet: Buffer,
  flows: Map<string, string>,
  next: Map<string, number>,
  flags: string[],
): void {
  const isV4 = packet.readUInt16BE(12) === 0x0800
  const ip = packet.subarray(14)
  if (isV4) expect(sumOf(ip.subarray(0, 20)) === 0xffff, 'the sum of an IP header')
  const tcp = ip.subarray(isV4 ? 20 : 40)
  expect(tcp.length === (isV4 ? ip.readUInt16BE(2) - 20 : ip.readUInt16BE(4)), 'the length of an IP packet')
  const [source, target] = isV4
    ? [ip.subarray(12, 16), ip.subarray(16, 20)]
    : [ip.subarray(8, 24), ip.subarray(24, 40)]
  const pseudo = Buffer.alloc(8)
  pseudo.writeUInt32BE(tcp.length, 0)
  pseudo.writeUInt32BE(6, 4)
  expect(sumOf(Buffer.concat([source, target, pseudo, tcp])) === 0xffff, 'the sum of a segment')
  const text = (bytes: Buffer): string => (isV4 ? [...bytes].join('.') : bytes.toString('hex'))
  const key = `${text(source)}:${tcp.readUInt16BE(0)}>${text(target)}:${tcp.readUInt16BE(2)}`
  const flag = tcp.readUInt8(13)
  flags.push(`${(flag & 2) === 0 ? '' : 'S'}${(flag & 1) === 0 ? '' : 'F'}${(flag & 8) === 0 ? '' : 'P'}`)
  const sequence = tcp.readUInt32BE(4)
  const payload = tcp.subarray(20)
  const expected = next.get(key)
  if (expected !== undefined) expect(sequence === expected, `${key}: ${sequence} in place of ${expected}`)
  next.set(key, sequence + payload.length + ((flag & 3) === 0 ? 0 : 1))
  flows.set(key, (flows.get(key) ?? '') + payload.toString('latin1'))
}
