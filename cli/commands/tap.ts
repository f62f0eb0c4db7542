// SPDX-License-Identifier: Apache-2.0
// `sidestep tap [POD]`: what happens to pods, and to the requests of a waypoint, as it happens. One line each, until somebody ends
// it.
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { CliError, EXIT_OK } from '../exit-codes.ts'
import type { FleetNode } from '../fleet/fleet.ts'
import { type CommandIo, jsonLine } from '../output.ts'
import { printable } from '../printable.ts'

/** What is listened to; undefined: everything. */
export interface TapAsked {
  readonly pod: string | undefined
  readonly peer: string | undefined
  readonly reason: string | undefined
  /** Of requests: beginning of the path, `404` or `4xx`, caller. */
  readonly path: string | undefined
  readonly status: string | undefined
  readonly source: string | undefined
}

type TapEvent = Readonly<Record<string, string | number | undefined>>

/** Prints events until it is interrupted, or no node goes on. @throws CliError when none could be listened to */
export async function tap(io: CommandIo, asked: TapAsked): Promise<number> {
  const { pod } = asked
  const fleet = await io.openFleet()
  const nodes = pod === undefined ? fleet.nodes : await fleet.nodesOf(pod)
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(asked) as [string, string | undefined][]) // as: TapAsked
    if (value !== undefined) query.set(name, value)
  const signal = io.untilInterrupted()
  const ends = await Promise.allSettled(nodes.map((node) => listen(io, node, `/tap?${query}`, signal)))
  const failures = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []))
  const [first] = failures
  if (first !== undefined && failures.length === ends.length) throw first
  return EXIT_OK
}

async function listen(io: CommandIo, node: FleetNode, path: string, signal: AbortSignal): Promise<void> {
  try {
    const name = await node.name()
    const input = Readable.from(node.stream(path, signal), { objectMode: false })
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line === '') continue // a node says that it is there
      const event = JSON.parse(line) as TapEvent // as: our API
      io.write(io.format === 'json' ? jsonLine({ node: name, ...event }) : eventText(name, event))
      await io.drained()
    }
    if (!signal.aborted) io.warn(`${printable(name)} has ended\n`)
  } catch (error) {
    if (error instanceof CliError) io.warn(`${printable(error.message)}\n`)
    throw error
  }
}

/** `time node pod what`, and of a connection its other end, its way and its end. */
function eventText(node: string, event: TapEvent): string {
  const { time, pod = '-', msg } = event
  if (event.scope === 'request')
    return `${[time, node, ...requestParts(event)].map((part) => printable(String(part))).join('  ')}\n`
  const parts = [
    time,
    node,
    pod,
    ...(event.direction === undefined ? changeParts(event) : connectionParts(event)),
  ]
  if (msg === 'events lost')
    return `${printable(`${time} ${node}: ${event.count} events lost, too slowly read`)}\n`
  return `${parts.map((part) => printable(String(part))).join('  ')}\n`
}

function requestParts(event: TapEvent): readonly (string | number)[] {
  const { method = '-', host = '', path = '', status = 0, reason = '', policy, detail } = event
  const source = event['src.identity'] ?? event['src.addr'] ?? '-'
  const target = event['dst.service'] ?? event['dst.authority'] ?? '-'
  return [
    ...[source, '->', target, method, `${host}${path}`, status, reason, `${event.duration_ms} ms`],
    ...(policy === undefined ? [] : [`policy ${policy}`]),
    ...(detail === undefined ? [] : [detail]),
  ]
}

/** How people call what records do. */
const TRANSPORTS: Readonly<Record<string, string>> = { HBONE: 'mTLS', LOCAL: 'local' }

function connectionParts(event: TapEvent): readonly (string | number)[] {
  const { direction, msg, reason = '', transport, policy, detail } = event
  const side = direction === 'outbound' ? 'dst' : 'src'
  const peer = event[`${side}.identity`] ?? event[`${side}.workload`] ?? event[`${side}.addr`] ?? '-'
  const address = event[`${side}.addr`] ?? '-'
  const isRefused = reason !== 'OK' && event.connect_ms === undefined
  const what = msg === 'connection opened' ? 'opened' : isRefused ? 'refused' : 'closed'
  const arrow = direction === 'outbound' ? '->' : '<-'
  return [
    ...[what, arrow, peer, address, TRANSPORTS[String(transport)] ?? 'plain'],
    ...(what === 'opened' ? [] : [reason, `${event.bytes_sent} sent, ${event.bytes_recv} received`]),
    ...(policy === undefined ? [] : [`policy ${policy}`]),
    ...(detail === undefined ? [] : [detail]),
  ]
}

function changeParts({
  time: _time,
  pod: _pod,
  msg = '',
  ...fields
}: TapEvent): readonly (string | number)[] {
  return [msg, ...Object.entries(fields).map(([name, value]) => `${name}=${value}`)]
}
