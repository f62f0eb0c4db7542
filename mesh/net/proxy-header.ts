// SPDX-License-Identifier: Apache-2.0
// The header of the PROXY protocol, version 2, that tells an application who really calls it
// (SPEC haproxy proxy-protocol.txt §2.2; wire-protocols §3.7).
import { ipToBytes, isIpv6, type SocketAddress } from './address.ts'

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** Version 2, command PROXY. */
const VERSION_COMMAND = 0x21
const STREAM = 1
const AF_UNSPEC = 0x00
const AF_INET = 0x10
const AF_INET6 = 0x20
/** The caller's SPIFFE id as text; 0xD0 is of those that are free for private use. */
const TLV_IDENTITY = 0xd0
/** SPEC SPIFFE-ID §2.3. */
const MAX_IDENTITY_BYTES = 2_048

/** `ip`s are canonical. `identity` '': none is proven. Addresses of different families are left out: there is no form for them. */
export function formatProxyHeader(
  source: SocketAddress,
  destination: SocketAddress,
  identity: string,
): Buffer {
  const isSixSource = isIpv6(source.ip)
  const isMixed = isSixSource !== isIpv6(destination.ip)
  const addresses = isMixed ? Buffer.alloc(0) : addressBlock(source, destination)
  const tlv = identity === '' ? Buffer.alloc(0) : identityTlv(identity)
  const head = Buffer.alloc(4)
  head[0] = VERSION_COMMAND
  head[1] = (isMixed ? AF_UNSPEC : isSixSource ? AF_INET6 : AF_INET) | STREAM
  head.writeUInt16BE(addresses.length + tlv.length, 2)
  return Buffer.concat([SIGNATURE, head, addresses, tlv])
}

function addressBlock(source: SocketAddress, destination: SocketAddress): Buffer {
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(source.port, 0)
  ports.writeUInt16BE(destination.port, 2)
  return Buffer.concat(
    [ipToBytes(source.ip) ?? [], ipToBytes(destination.ip) ?? [], ports].map((each) => Buffer.from(each)),
  )
}

function identityTlv(identity: string): Buffer {
  const value = Buffer.from(identity, 'utf8').subarray(0, MAX_IDENTITY_BYTES)
  const head = Buffer.alloc(3)
  head[0] = TLV_IDENTITY
  head.writeUInt16BE(value.length, 1)
  return Buffer.concat([head, value])
}
