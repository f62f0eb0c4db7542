// SPDX-License-Identifier: Apache-2.0
// Addresses of the interfaces of a namespace by rtnetlink, IPv4 and IPv6.
// SPEC RTNETLINK (linux/if_addr.h)
import { MeshError } from '../../errors/mesh-error.ts'
import { formatIp, ipToBytes } from '../../net/address.ts'
import { AF_INET, AF_INET6 } from '../ffi/constants.ts'
import { E } from '../ffi/libc.ts'
import { attributesOf, type NetlinkConnection } from './connection.ts'
import { linkIndex } from './links.ts'
import { type MessageBuilder, NLM_F_CREATE, NLM_F_EXCL } from './message.ts'

const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_GETADDR = 22
const IFADDRMSG_BYTES = 8
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_FLAGS = 8
const IFA_F_NODAD = 0x02
const IFA_F_TENTATIVE = 0x40

/** An address of an interface. `ip` is canonical. */
export interface LinkAddress {
  readonly linkIndex: number
  readonly ip: string
  readonly prefixLength: number
  /** IPv6 duplicate detection is still running: the address cannot be used yet. */
  readonly isTentative: boolean
}

/** Bytes and prefix length of `ip/length`; without a length it is a host address. @throws NETLINK when it is no address */
export function parseInterfaceAddress(text: string): {
  readonly bytes: Uint8Array
  readonly prefixLength: number
} {
  const [ip = '', length] = text.split('/')
  const bytes = ipToBytes(ip)
  const prefixLength = length === undefined ? (bytes?.length ?? 0) * 8 : Number(length)
  const isValid = bytes !== undefined && Number.isInteger(prefixLength) && prefixLength >= 0
  if (!isValid || prefixLength > bytes.length * 8) {
    throw new MeshError('NETLINK', { detail: `no address: ${JSON.stringify(text)}` })
  }
  return { bytes, prefixLength }
}

/** AF_INET or AF_INET6 of an address's bytes. */
export function familyOf(bytes: Uint8Array): number {
  return bytes.length === 4 ? AF_INET : AF_INET6
}

function writer(index: number, address: string) {
  const { bytes, prefixLength } = parseInterfaceAddress(address)
  const header = Buffer.alloc(IFADDRMSG_BYTES)
  header[0] = familyOf(bytes)
  header[1] = prefixLength
  // Duplicate detection takes a second in which the address is dead, and our interfaces have one peer each.
  header[2] = bytes.length === 16 ? IFA_F_NODAD : 0
  header.writeUInt32LE(index, 4)
  return (message: MessageBuilder): void => {
    message.raw(header).attribute(IFA_LOCAL, bytes).attribute(IFA_ADDRESS, bytes)
  }
}

/** Adds `address` (`ip/length`); an IPv6 address is usable at once. One that exists already is fine. @throws NETLINK */
export function addAddress(connection: NetlinkConnection, link: string, address: string): void {
  connection.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, writer(linkIndex(connection, link), address), {
    label: `add ${address} to ${link}`,
    tolerated: [E.EXIST],
  })
}

/** Removes an address. One that is gone already is fine. @throws NETLINK */
export function deleteAddress(connection: NetlinkConnection, link: string, address: string): void {
  connection.request(RTM_DELADDR, 0, writer(linkIndex(connection, link), address), {
    label: `delete ${address} of ${link}`,
    tolerated: [E.ADDRNOTAVAIL],
  })
}

/** Every address of the namespace, IPv4 first. */
export function listAddresses(connection: NetlinkConnection): readonly LinkAddress[] {
  const addresses: LinkAddress[] = []
  for (const message of connection.dump(
    RTM_GETADDR,
    (builder) => builder.raw(Buffer.alloc(IFADDRMSG_BYTES)),
    {
      label: 'list addresses',
    },
  )) {
    const attributes = attributesOf(message, IFADDRMSG_BYTES)
    // IFA_ADDRESS of a point-to-point IPv4 address is the peer's; IPv6 has no IFA_LOCAL then.
    const ip = formatIp(attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS) ?? Buffer.alloc(0))
    if (message.type !== RTM_NEWADDR || ip === undefined) continue
    addresses.push({
      linkIndex: message.payload.readUInt32LE(4),
      ip,
      prefixLength: message.payload[1] ?? 0,
      isTentative: ((attributes.u32(IFA_FLAGS) ?? message.payload[2] ?? 0) & IFA_F_TENTATIVE) !== 0,
    })
  }
  return addresses
}
