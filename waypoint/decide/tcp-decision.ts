// SPDX-License-Identifier: Apache-2.0
// Which backend gets a connection that is carried as bytes. Pure.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Backend, TcpRoutes, TcpRule } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { Caller } from './request-facts.ts'
import { Split } from './split.ts'

/** What was chosen. */
export interface TcpChoice {
  readonly kind: 'choice'
  readonly backend: Backend
  /** `TCPRoute shop/db, rule 0`. */
  readonly origin: string
}

/** The first rule that is true of a connection decides. `serverName` '': it said none. */
export function pickTcpBackend(
  { rules }: TcpRoutes,
  caller: Caller,
  serverName: string,
  random: number,
): TcpChoice | Refusal {
  const rule = rules.find((each) => isFor(each, caller, serverName))
  if (rule === undefined) return refuse('ROUTE_NOT_FOUND', serverName === '' ? 'a connection' : serverName)
  const { kind = '', namespace = '', name = '', index = 0 } = rule.origin ?? {}
  const origin = `${kind} ${namespace}/${name}, rule ${index}`
  const backend = new Split(rule.backends).pick(random)
  if (backend === null) return refuse('ROUTE_BROKEN', `${origin}: no backend has a weight`)
  return backend.broken === ''
    ? { kind: 'choice', backend, origin }
    : refuse('ROUTE_BROKEN', `${origin}: ${backend.broken}`)
}

function isFor(rule: TcpRule, caller: Caller, serverName: string): boolean {
  const { serverNames, sourceLabels, sourceNamespace } = rule
  if (sourceNamespace !== '' && sourceNamespace !== caller.namespace) return false
  if (!Object.entries(sourceLabels).every(([name, value]) => caller.labels[name] === value)) return false
  return serverNames.length === 0 || serverNames.some((wanted) => isServerName(wanted, serverName))
}

/** `*.example.org` is true of every name below it. Names are compared without case. */
function isServerName(wanted: string, serverName: string): boolean {
  const [left, right] = [wanted.toLowerCase(), serverName.toLowerCase()]
  if (!left.startsWith('*')) return left === right
  return right.length > left.length - 1 && right.endsWith(left.slice(1))
}
