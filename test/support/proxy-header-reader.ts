// SPDX-License-Identifier: Apache-2.0
// Reads a PROXY protocol header, version 2, as an application behind it does: written from the specification, shares nothing
// with the writer.

export interface ReadProxyHeader {
  readonly source: { readonly ip: string; readonly port: number } | null
  readonly destination: { readonly ip: string; readonly port: number } | null
  /** Value of the TLV 0xD0; '' when there is none. */
  readonly identity: string
  readonly length: number
}

/** Null when there are too few bytes. @throws when it is none */
export function readProxyHeader(bytes: Buffer): ReadProxyHeader | null {
  if (bytes.length < 16) return null
  if (bytes.toString('latin1', 0, 12) !== '\r\n\r\n\0\r\nQUIT\n') throw new Error('no PROXY header')
  if (bytes[12] !== 0x21) throw new Error(`version and command ${bytes[12]}`)
  const length = 16 + bytes.readUInt16BE(14)
  if (bytes.length < length) return null
  const isFour = bytes[13] === 0x11
  if (!isFour && bytes[13] !== 0x01) throw new Error(`family ${bytes[13]}`)
  const ip = (at: number): string => [...bytes.subarray(at, at + 4)].join('.')
  const source = isFour ? { ip: ip(16), port: bytes.readUInt16BE(24) } : null
  const destination = isFour ? { ip: ip(20), port: bytes.readUInt16BE(26) } : null
  let identity = ''
  for (let at = isFour ? 28 : 16; at < length; at += 3 + bytes.readUInt16BE(at + 1))
    if (bytes[at] === 0xd0) identity = bytes.toString('utf8', at + 3, at + 3 + bytes.readUInt16BE(at + 1))
  return { source, destination, identity, length }
}
