// SPDX-License-Identifier: Apache-2.0
// Routes and policy rules of a namespace by rtnetlink, IPv4 and IPv6. Adding what exists and deleting what is gone
// are fine, so that a caller states what it wants and need not ask first.
// SPEC RTNETLINK (linux/rtnetlink.h, fib_rules.h)
import { formatIp } from '../../net/address.ts'
import { AF_INET, AF_INET6 } from '../ffi/constants.ts'
import { E } from '../ffi/libc.ts'
import { familyOf, parseInterfaceAddress } from './addresses.ts'
import { attributesOf, EAFNOSUPPORT, EOPNOTSUPP, ESRCH, type NetlinkConnection } from './connection.ts'
import { linkIndex } from './links.ts'
import { type MessageBuilder, type NetlinkMessage, NLM_F_CREATE, NLM_F_EXCL } from './message.ts'

const RTM_NEWROUTE = 24
const RTM_DELROUTE = 25
const RTM_GETROUTE = 26
const RTM_NEWRULE = 32
const RTM_DELRULE = 33
const RTM_GETRULE = 34
const RTMSG_BYTES = 12
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PREFSRC = 7
const RTA_TABLE = 15
const FRA_PRIORITY = 6
const FRA_FWMARK = 10
const FRA_TABLE = 15
const FRA_FWMASK = 16
const FR_ACT_TO_TBL = 1
const RTPROT_STATIC = 4
const RT_SCOPE_UNIVERSE = 0
const RT_SCOPE_LINK = 253
const RT_SCOPE_HOST = 254
const RTNH_F_ONLINK = 4

/** The table that normal routes live in. */
export const MAIN_TABLE = 254
const ROUTE_TYPE = { unicast: 1, local: 2, blackhole: 6, unreachable: 7 } as const
/** `local` delivers to this machine whatever the address is. */
export type RouteType = keyof typeof ROUTE_TYPE
export type IpFamily = 4 | 6

/** A route as it is asked for. */
export interface RouteSpec {
  /** `ip/length`; `0.0.0.0/0` and `::/0` are the default routes. */
  readonly destination: string
  readonly link?: string
  readonly gateway?: string
  /** The gateway is on the link even though no prefix covers it. */
  readonly isOnlink?: boolean
  /** Our address on packets that take this route. */
  readonly source?: string
  readonly table?: number
  readonly type?: RouteType
}

/** A route as the kernel lists it; empty text and 0 stand for what it does not have. */
export interface Route {
  readonly destination: string
  readonly linkIndex: number
  readonly gateway: string
  readonly source: string
  readonly table: number
  readonly type: RouteType | 'other'
}

/** "Packets with this mark look into that table." */
export interface MarkRule {
  readonly family: IpFamily
  readonly mark: number
  readonly mask: number
  readonly priority: number
  readonly table: number
}

function routeWriter(connection: NetlinkConnection, route: RouteSpec) {
  const { bytes, prefixLength } = parseInterfaceAddress(route.destination)
  const type = route.type ?? 'unicast'
  const table = route.table ?? MAIN_TABLE
  const header = Buffer.alloc(RTMSG_BYTES)
  header[0] = familyOf(bytes)
  header[1] = prefixLength
  header[4] = table < 256 ? table : 0
  header[5] = RTPROT_STATIC
  header[6] = scopeOf(type, route.gateway !== undefined)
  header[7] = ROUTE_TYPE[type]
  header.writeUInt32LE(route.isOnlink === true ? RTNH_F_ONLINK : 0, 8)
  const oif = route.link === undefined ? 0 : linkIndex(connection, route.link)
  return (message: MessageBuilder): void => {
    message.raw(header).u32(RTA_TABLE, table)
    if (prefixLength > 0) message.attribute(RTA_DST, bytes)
    if (oif > 0) message.u32(RTA_OIF, oif)
    if (route.gateway !== undefined) {
      message.attribute(RTA_GATEWAY, parseInterfaceAddress(route.gateway).bytes)
    }
    if (route.source !== undefined) message.attribute(RTA_PREFSRC, parseInterfaceAddress(route.source).bytes)
  }
}

function scopeOf(type: RouteType, hasGateway: boolean): number {
  if (type === 'local') return RT_SCOPE_HOST
  return hasGateway || type !== 'unicast' ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK
}

/** Adds a route. One that exists already is fine. @throws NETLINK */
export function addRoute(connection: NetlinkConnection, route: RouteSpec): void {
  connection.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, routeWriter(connection, route), {
    label: `add route ${route.destination}`,
    tolerated: [E.EXIST],
  })
}

/** Removes a route. One that is gone already is fine. @throws NETLINK */
export function deleteRoute(connection: NetlinkConnection, route: RouteSpec): void {
  connection.request(RTM_DELROUTE, 0, routeWriter(connection, route), {
    label: `delete route ${route.destination}`,
    tolerated: [ESRCH],
  })
}

/** The routes of one table, both families. */
export function listRoutes(connection: NetlinkConnection, table = MAIN_TABLE): readonly Route[] {
  const routes: Route[] = []
  for (const message of connection.dump(RTM_GETROUTE, (builder) => builder.raw(Buffer.alloc(RTMSG_BYTES)), {
    label: 'list routes',
  })) {
    const route = message.type === RTM_NEWROUTE ? readRoute(message) : null
    if (route?.table === table) routes.push(route)
  }
  return routes
}

function readRoute(message: NetlinkMessage): Route | null {
  const [family = 0, prefixLength = 0, , , headerTable = 0, , , type = 0] = message.payload
  if (family !== AF_INET && family !== AF_INET6) return null
  const attributes = attributesOf(message, RTMSG_BYTES)
  const destination = attributes.get(RTA_DST) ?? Buffer.alloc(family === AF_INET ? 4 : 16)
  const gateway = attributes.get(RTA_GATEWAY)
  const source = attributes.get(RTA_PREFSRC)
  const name = Object.entries(ROUTE_TYPE).find(([, number]) => number === type)?.[0]
  return {
    destination: `${formatIp(destination) ?? '::'}/${prefixLength}`,
    linkIndex: attributes.u32(RTA_OIF) ?? 0,
    gateway: gateway === undefined ? '' : (formatIp(gateway) ?? ''),
    source: source === undefined ? '' : (formatIp(source) ?? ''),
    table: attributes.u32(RTA_TABLE) ?? headerTable,
    type: (name as RouteType | undefined) ?? 'other', // as: a key of ROUTE_TYPE
  }
}

function ruleHeader(family: IpFamily, table = 0): Buffer {
  const header = Buffer.alloc(RTMSG_BYTES)
  header[0] = family === 4 ? AF_INET : AF_INET6
  header[4] = table < 256 ? table : 0
  header[7] = FR_ACT_TO_TBL
  return header
}

function ruleWriter(rule: MarkRule) {
  return (message: MessageBuilder): void => {
    message
      .raw(ruleHeader(rule.family, rule.table))
      .u32(FRA_PRIORITY, rule.priority)
      .u32(FRA_FWMARK, rule.mark)
      .u32(FRA_FWMASK, rule.mask)
      .u32(FRA_TABLE, rule.table)
  }
}

/** Adds a rule. One that exists already is fine. @throws NETLINK */
export function addMarkRule(connection: NetlinkConnection, rule: MarkRule): void {
  connection.request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, ruleWriter(rule), {
    label: `add rule ${rule.priority}`,
    tolerated: [E.EXIST],
  })
}

/** Removes a rule. One that is gone already is fine. @throws NETLINK */
export function deleteMarkRule(connection: NetlinkConnection, rule: MarkRule): void {
  connection.request(RTM_DELRULE, 0, ruleWriter(rule), {
    label: `delete rule ${rule.priority}`,
    tolerated: [E.NOENT, EAFNOSUPPORT],
  })
}

/** The rules of both families that choose a table by mark. */
export function listMarkRules(connection: NetlinkConnection): readonly MarkRule[] {
  const rules: MarkRule[] = []
  for (const family of [4, 6] as const) {
    const messages = connection.dump(RTM_GETRULE, (message) => message.raw(ruleHeader(family)), {
      label: 'list rules',
      tolerated: [EAFNOSUPPORT, EOPNOTSUPP],
    })
    for (const message of messages) {
      if (message.type !== RTM_NEWRULE) continue
      const attributes = attributesOf(message, RTMSG_BYTES)
      const mark = attributes.u32(FRA_FWMARK)
      if (mark === undefined) continue
      rules.push({
        family,
        mark,
        mask: attributes.u32(FRA_FWMASK) ?? 0xffffffff,
        priority: attributes.u32(FRA_PRIORITY) ?? 0,
        table: attributes.u32(FRA_TABLE) ?? message.payload[4] ?? 0,
      })
    }
  }
  return rules
}
