// SPDX-License-Identifier: Apache-2.0
// What the waypoints are asked for, each a service of its own behind each of them. Pure.

/** One service behind each waypoint. */
export interface Case {
  /** Stands behind the names of its metrics. */
  readonly key: string
  /** As the page shows it. */
  readonly title: string
  /** Rules of its route: the request asks for the last of them. */
  readonly rules: number
  /** The request carries a token, and a policy decides by what it says. */
  readonly isSecured: boolean
  /** `grpc`: unary calls by HTTP/2, each answer with trailers. */
  readonly protocol: 'http' | 'grpc'
}

const plain = (rules: number, title: string): Case => ({
  ...{ key: String(rules), title, rules },
  ...{ isSecured: false, protocol: 'http' },
})

export const ONE_ROUTE = plain(1, '1 route')
export const GRPC: Case = {
  ...{ key: 'Grpc', title: 'gRPC by HTTP/2', rules: 1 },
  ...{ isSecured: false, protocol: 'grpc' },
}
export const CASES: readonly Case[] = [
  ONE_ROUTE,
  plain(100, '100 routes'),
  plain(1000, '1,000 routes'),
  {
    key: 'Secured',
    title: '100 routes, JWT and authorization',
    rules: 100,
    isSecured: true,
    protocol: 'http',
  },
  GRPC,
]

/** Who stands in the way. */
export const WAYPOINTS = ['sidestep', 'envoy'] as const
export type Waypoint = (typeof WAYPOINTS)[number]

/** What a rule of a route matches. */
export const prefixOf = (rule: number): string => `/r${rule}/`
/** A path that only the last rule of a case matches. */
export const pathOf = ({ rules }: Case, file: 'small' | 'big'): string => `${prefixOf(rules - 1)}${file}`

/** Address of the service of a case behind `proxy`. */
export function serviceIp(proxy: Waypoint, of: Case): string {
  return `10.96.${WAYPOINTS.indexOf(proxy) + 1}.${CASES.indexOf(of) + 1}`
}
