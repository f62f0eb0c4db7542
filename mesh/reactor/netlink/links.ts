// SPDX-License-Identifier: Apache-2.0
// Network interfaces of a namespace by rtnetlink: create, move, rename, set up, delete, list. Names are the kernel's
// (at most 15 bytes); the kernel checks them and its refusal names what is wrong.
// SPEC RTNETLINK (linux/rtnetlink.h, if_link.h)
import type { NetworkNamespace } from '../netns.ts'
import { attributesOf, ENODEV, type NetlinkConnection, nestedOf } from './connection.ts'
import { type MessageBuilder, type NetlinkMessage, NLM_F_CREATE, NLM_F_EXCL } from './message.ts'

const RTM_NEWLINK = 16
const RTM_DELLINK = 17
const RTM_GETLINK = 18
const RTM_SETLINK = 19
const IFINFOMSG_BYTES = 16
const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFLA_LINK = 5
const IFLA_MASTER = 10
const IFLA_LINKINFO = 18
const IFLA_NET_NS_FD = 28
const IFLA_INFO_KIND = 1
const IFLA_INFO_DATA = 2
const VETH_INFO_PEER = 1
const IFF_UP = 1

/** One interface. */
export interface Link {
  readonly index: number
  readonly name: string
  /** `veth`, `bridge` …; null for devices without a kind (lo, hardware). */
  readonly kind: string | null
  readonly isUp: boolean
  readonly mtu: number
  /** Hardware address as lower-case hex pairs. */
  readonly mac: string
  /** Index of the other end of a veth pair, in its own namespace; 0 when there is none. */
  readonly peerIndex: number
  /** Index of the bridge this is a port of; 0 when there is none. */
  readonly masterIndex: number
}

/** The other end of a veth pair. */
export interface VethPeer {
  readonly name: string
  /** Where the peer is created; the connection's namespace when missing. */
  readonly namespace?: NetworkNamespace
}

function ifinfomsg(index = 0, flags = 0, change = 0): Buffer {
  const header = Buffer.alloc(IFINFOMSG_BYTES)
  header.writeInt32LE(index, 4)
  header.writeUInt32LE(flags, 8)
  header.writeUInt32LE(change, 12)
  return header
}

/** Creates both ends at once, each in its namespace, both down. @throws NETLINK, also when a name is taken */
export function createVethPair(connection: NetlinkConnection, name: string, peer: VethPeer): void {
  const write = createWriter(name, 'veth', peer)
  connection.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, write, { label: `create veth ${name}` })
}

/** Creates a device without a peer. @throws NETLINK when the kernel lacks the kind or the name is taken */
export function createLink(connection: NetlinkConnection, name: string, kind: 'dummy' | 'bridge'): void {
  const write = createWriter(name, kind, null)
  connection.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, write, { label: `create ${kind} ${name}` })
}

function createWriter(name: string, kind: string, peer: VethPeer | null) {
  return (message: MessageBuilder): void => {
    message.raw(ifinfomsg()).text(IFLA_IFNAME, name)
    message.nest(IFLA_LINKINFO, (info) => {
      info.text(IFLA_INFO_KIND, kind)
      if (peer === null) return
      info.nest(IFLA_INFO_DATA, (data) => {
        data.nest(VETH_INFO_PEER, (end) => {
          end.raw(ifinfomsg()).text(IFLA_IFNAME, peer.name)
          if (peer.namespace !== undefined) end.u32(IFLA_NET_NS_FD, peer.namespace.fd)
        })
      })
    })
  }
}

/** Every interface of the namespace, in the order of their indexes. */
export function listLinks(connection: NetlinkConnection): readonly Link[] {
  return connection
    .dump(RTM_GETLINK, (message) => message.raw(ifinfomsg()), { label: 'list links' })
    .filter((message) => message.type === RTM_NEWLINK)
    .map(readLink)
}

/** One interface by name; null when there is none. */
export function findLink(connection: NetlinkConnection, name: string): Link | null {
  const replies = connection.request(
    RTM_GETLINK,
    0,
    (message) => message.raw(ifinfomsg()).text(IFLA_IFNAME, name),
    { label: `find link ${name}`, tolerated: [ENODEV] },
  )
  const reply = replies.find((message) => message.type === RTM_NEWLINK)
  return reply === undefined ? null : readLink(reply)
}

/** The index of an interface. @throws NETLINK when there is none of that name */
export function linkIndex(connection: NetlinkConnection, name: string): number {
  const label = `find link ${name}`
  const replies = connection.request(
    RTM_GETLINK,
    0,
    (message) => message.raw(ifinfomsg()).text(IFLA_IFNAME, name),
    { label },
  )
  const reply = replies.find((message) => message.type === RTM_NEWLINK)
  return reply === undefined ? 0 : readLink(reply).index
}

export function setLinkUp(connection: NetlinkConnection, name: string, isUp = true): void {
  const header = ifinfomsg(linkIndex(connection, name), isUp ? IFF_UP : 0, IFF_UP)
  connection.request(RTM_NEWLINK, 0, (message) => message.raw(header), {
    label: `set ${name} ${isUp ? 'up' : 'down'}`,
  })
}

/** Moves an interface; it is down afterwards and its addresses are gone. */
export function moveLink(connection: NetlinkConnection, name: string, namespace: NetworkNamespace): void {
  const header = ifinfomsg(linkIndex(connection, name))
  connection.request(RTM_SETLINK, 0, (message) => message.raw(header).u32(IFLA_NET_NS_FD, namespace.fd), {
    label: `move ${name}`,
  })
}

export function renameLink(connection: NetlinkConnection, name: string, newName: string): void {
  const header = ifinfomsg(linkIndex(connection, name))
  connection.request(RTM_SETLINK, 0, (message) => message.raw(header).text(IFLA_IFNAME, newName), {
    label: `rename ${name} to ${newName}`,
  })
}

/** Makes `name` a port of the bridge `master`. */
export function setLinkMaster(connection: NetlinkConnection, name: string, master: string): void {
  const header = ifinfomsg(linkIndex(connection, name))
  const masterIndex = linkIndex(connection, master)
  connection.request(RTM_SETLINK, 0, (message) => message.raw(header).u32(IFLA_MASTER, masterIndex), {
    label: `make ${name} a port of ${master}`,
  })
}

/** Deletes an interface; the other end of a veth pair goes with it. One that is gone already is fine. */
export function deleteLink(connection: NetlinkConnection, name: string): void {
  connection.request(RTM_DELLINK, 0, (message) => message.raw(ifinfomsg()).text(IFLA_IFNAME, name), {
    label: `delete link ${name}`,
    tolerated: [ENODEV],
  })
}

function readLink(message: NetlinkMessage): Link {
  const attributes = attributesOf(message, IFINFOMSG_BYTES)
  return {
    index: message.payload.readInt32LE(4),
    name: attributes.text(IFLA_IFNAME) ?? '',
    kind: nestedOf(attributes, IFLA_LINKINFO).text(IFLA_INFO_KIND) ?? null,
    isUp: (message.payload.readUInt32LE(8) & IFF_UP) !== 0,
    mtu: attributes.u32(IFLA_MTU) ?? 0,
    mac: (attributes.get(IFLA_ADDRESS)?.toString('hex').match(/../g) ?? []).join(':'),
    peerIndex: attributes.u32(IFLA_LINK) ?? 0,
    masterIndex: attributes.u32(IFLA_MASTER) ?? 0,
  }
}
