// SPDX-License-Identifier: Apache-2.0
// `sidestep conns`, `certs`, `edges`, `version`, `log-level`: what every node has, one row each.
import { LOG_LEVELS } from '../../mesh/runtime/log-levels.ts'
import { askAll, type NodePage, type NodePageFacts, readJson } from '../ask-all.ts'
import { CliError, EXIT_FINDING, EXIT_OK, EXIT_USAGE } from '../exit-codes.ts'
import { type CommandIo, print } from '../output.ts'
import { type Cell, formatTable } from '../table.ts'

/** A live connection, as far as it is looked at. */
export interface ConnectionRow {
  readonly uid: string
  readonly direction: string
  readonly source: string
  readonly destination: string
  readonly protocol: string
  readonly peer: string
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly ageMs: number
  /** Undefined: of the process that serves. */
  readonly drainingPid?: number
}

/** A certificate, as far as it is looked at. */
export interface CertificateRow {
  readonly identity: string
  readonly use: string
  readonly state: string
  readonly alarm: string
  readonly lastFailure: string
  readonly certChain: readonly { readonly serialNumber: string; readonly expirationTime: string }[]
  readonly live: readonly {
    readonly worker: number
    readonly serialNumber: string
    readonly isAlarm: boolean
  }[]
  readonly tunnels: readonly { readonly count: number }[]
}

interface EdgeRow {
  readonly reporter: string
  readonly source: { readonly namespace: string; readonly workload: string } | null
  readonly destination: { readonly namespace: string; readonly workload: string } | null
  readonly service: string
  readonly isPlaintext: boolean
  readonly reason: string
  readonly opened: number
  readonly failed: number
  readonly sentBytes: number
  readonly receivedBytes: number
}

const MS_PER_DAY = 86_400_000

/** Days until a time, one digit; null without one. */
export function daysLeft(expirationTime: string | undefined, nowMs: number): string | null {
  if (expirationTime === undefined) return null
  return ((Date.parse(expirationTime) - nowMs) / MS_PER_DAY).toFixed(1)
}

/** One row per connection, after the name of its node. */
export const CONNECTION_HEADINGS = [
  'WAY',
  'SOURCE',
  'DESTINATION',
  'WIRE',
  'PEER',
  'SENT',
  'RECEIVED',
  'SECONDS',
]

export function connectionCells(row: ConnectionRow): readonly Cell[] {
  const { direction, source, destination, protocol, peer, bytesSent, bytesReceived, ageMs, drainingPid } = row
  const wire = protocol === 'HBONE' ? 'mTLS' : 'plain'
  const way = drainingPid === undefined ? direction : `${direction}, draining`
  return [way, source, destination, wire, peer, bytesSent, bytesReceived, (ageMs / 1000).toFixed(1)]
}

/** One row per certificate, after the name of its node. */
export const CERTIFICATE_HEADINGS = [
  'IDENTITY',
  'USE',
  'STATE',
  'DAYS LEFT',
  'ON SOCKETS',
  'TUNNELS',
  'SERIAL',
]

export function certificateCells(row: CertificateRow, nowMs: number): readonly Cell[] {
  const { identity, use, state, alarm, certChain, live, tunnels } = row
  const [leaf] = certChain
  const told = alarm === 'none' ? state : `${state}, ${alarm}`
  const presented = live.filter(({ serialNumber }) => serialNumber === leaf?.serialNumber).length
  const onSockets = live.length === 0 ? null : `${presented} of ${live.length} workers`
  const open = tunnels.reduce((sum, { count }) => sum + count, 0)
  return [
    identity,
    use,
    told,
    daysLeft(leaf?.expirationTime, nowMs),
    onSockets,
    open,
    leaf?.serialNumber ?? null,
  ]
}

/** True for one that needs somebody. */
export function isInTrouble({ alarm, live }: CertificateRow): boolean {
  return alarm !== 'none' || live.some(({ isAlarm }) => isAlarm)
}

/** Live connections. */
export async function conns(io: CommandIo): Promise<number> {
  const pages = await askAll(io, await io.openFleet(), (node) =>
    readJson<readonly ConnectionRow[]>(node, '/connections'),
  )
  print(io, pages, (all) => rowTable(CONNECTION_HEADINGS, all, connectionCells))
  return EXIT_OK
}

/** Certificates: stored, presented, in use. */
export async function certs(io: CommandIo): Promise<number> {
  const pages = await askAll(io, await io.openFleet(), (node) =>
    readJson<readonly CertificateRow[]>(node, '/certificates'),
  )
  print(io, pages, (all) => rowTable(CERTIFICATE_HEADINGS, all, (row) => certificateCells(row, io.nowMs())))
  return pages.some(({ page }) => page.some(isInTrouble)) ? EXIT_FINDING : EXIT_OK
}

/** Who talks to whom, as each node counts it. */
export async function edges(io: CommandIo): Promise<number> {
  const pages = await askAll(io, await io.openFleet(), (node) => readJson<readonly EdgeRow[]>(node, '/edges'))
  const party = (each: EdgeRow['source']): Cell =>
    each === null ? null : `${each.namespace}/${each.workload}`
  const headings = [
    'SEEN BY',
    'SOURCE',
    'DESTINATION',
    'SERVICE',
    'WIRE',
    'END',
    'OPENED',
    'FAILED',
    'SENT',
    'RECEIVED',
  ]
  print(io, pages, (all) =>
    rowTable(headings, all, (edge) => [
      ...[edge.reporter, party(edge.source), party(edge.destination), edge.service],
      ...[edge.isPlaintext ? 'plain' : 'mTLS', edge.reason, edge.opened, edge.failed],
      ...[edge.sentBytes, edge.receivedBytes],
    ]),
  )
  return EXIT_OK
}

/** Versions of this command and of every node. */
export async function version(io: CommandIo, own: string): Promise<number> {
  const pages = await askAll(io, await io.openFleet(), (node) => readJson<NodePageFacts>(node, '/node'))
  const nodes = pages.map(({ page }) => ({
    node: page.node,
    runtime: page.version.node,
    model: page.version.model,
    pods: page.pods.length,
  }))
  print(io, { sidestep: own, nodes }, (all) => {
    const rows = all.nodes.map(({ node, runtime, model, pods }) => [node, runtime, model, pods])
    return `sidestep ${all.sidestep}\n\n${formatTable(['NODE', 'RUNTIME', 'CONFIGURATION', 'PODS'], rows)}`
  })
  return EXIT_OK
}

/** Shows the log level of every node, or sets it. @throws CliError for a level that is none */
export async function logLevel(io: CommandIo, level: string | undefined): Promise<number> {
  if (level !== undefined && !LOG_LEVELS.some((each) => each === level))
    throw new CliError(EXIT_USAGE, `${level} is no level: ${LOG_LEVELS.join(', ')}`)
  const pages = await askAll(io, await io.openFleet(), async (node) => {
    if (level !== undefined) await node.post(`/logging?level=${level}`)
    return (await readJson<NodePageFacts>(node, '/node')).logLevel
  })
  print(io, pages, (all) =>
    formatTable(
      ['NODE', 'LEVEL'],
      all.map(({ node, page }) => [node, page]),
    ),
  )
  return EXIT_OK
}

function rowTable<T>(
  headings: readonly string[],
  pages: readonly NodePage<readonly T[]>[],
  cells: (row: T) => readonly Cell[],
): string {
  return formatTable(
    ['NODE', ...headings],
    pages.flatMap(({ node, page }) => page.map((row) => [node, ...cells(row)])),
  )
}
