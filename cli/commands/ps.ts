// SPDX-License-Identifier: Apache-2.0
// `sidestep ps [POD]`: the pods of the mesh, or all that its node has of one.
import type { PodFacts } from '../../ztunnel/decide/pod-facts.ts'
import type { ListenerState } from '../../ztunnel/decide/pod-listeners.ts'
import { askAll, type NodePageFacts, readJson } from '../ask-all.ts'
import { CliError, EXIT_OK, EXIT_USAGE } from '../exit-codes.ts'
import { type CommandIo, print } from '../output.ts'
import { type Cell, formatFields, formatTable } from '../table.ts'
import {
  CERTIFICATE_HEADINGS,
  type CertificateRow,
  CONNECTION_HEADINGS,
  type ConnectionRow,
  certificateCells,
  connectionCells,
} from './tables.ts'

interface PodPage extends PodFacts {
  readonly certificate: CertificateRow | null
  readonly connections: readonly ConnectionRow[]
}

/** Lists pods, or shows one. Gives the exit code. @throws CliError when several pods have the name, or none */
export async function ps(io: CommandIo, name: string | undefined): Promise<number> {
  if (name === undefined) await listPods(io)
  else print(io, await readPod(io, name), (page) => podText(page, io.nowMs()))
  return EXIT_OK
}

async function listPods(io: CommandIo): Promise<void> {
  const pages = await askAll(io, await io.openFleet(), (node) => readJson<NodePageFacts>(node, '/node'))
  const pods = pages.flatMap(({ page: { node, pods, pending } }) =>
    pods.map(({ namespace, name, serviceAccount }) => {
      const pod = `${namespace}/${name}`
      return { node, pod, serviceAccount, isServed: !pending.includes(`pod ${pod}`) }
    }),
  )
  print(io, pods, (all) =>
    formatTable(
      ['NODE', 'POD', 'SERVICE ACCOUNT', 'STATE'],
      all.map(({ node, pod, serviceAccount, isServed }) => [
        node,
        pod,
        serviceAccount,
        isServed ? 'served' : 'waits',
      ]),
    ),
  )
}

async function readPod(io: CommandIo, name: string): Promise<PodPage> {
  const fleet = await io.openFleet()
  const nodes = await fleet.nodesOf(name)
  const pages = await askAll(io, { ...fleet, nodes }, async (node) => ({ node, pods: await node.pod(name) }))
  const found = pages.flatMap(({ page: { node, pods } }) => pods.map((facts) => ({ node, facts })))
  const [first, ...others] = found
  if (first === undefined) throw new CliError(EXIT_USAGE, `no node that answered serves a pod ${name}`)
  if (others.length > 0) {
    const names = found.map(({ facts }) => `${facts.pod.namespace}/${facts.pod.name}`).join(', ')
    throw new CliError(EXIT_USAGE, `${name} may be ${names}: say which`)
  }
  const { node, facts } = first
  const [certificates, connections] = await Promise.all([
    readJson<readonly CertificateRow[]>(node, '/certificates'),
    readJson<readonly ConnectionRow[]>(node, '/connections'),
  ])
  const identity = facts.workload?.identity
  return {
    ...facts,
    certificate: certificates.find((each) => each.identity === identity) ?? null,
    connections: connections.filter(({ uid }) => uid === facts.pod.uid),
  }
}

function podText(page: PodPage, nowMs: number): string {
  return [aboutText(page), ...podParts(page, nowMs).map(partText)].join('')
}

function aboutText({ pod, workload, health, services, mendedMs, limited }: PodPage): string {
  const redirection = mendedMs === null ? 'as it should be' : `mended at ${new Date(mendedMs).toISOString()}`
  return formatFields([
    ['pod', `${pod.namespace}/${pod.name}`],
    ['node', health.node],
    ['identity', workload?.identity ?? 'enrolled but not configured'],
    ['addresses', workload?.ips.join(', ') ?? ''],
    ['services', services.join(', ')],
    [
      'configuration',
      health.isConnected ? `current, from ${health.source}` : `stale: no stream to ${health.controller}`,
    ],
    ['redirection', redirection],
    [
      'limits',
      Object.entries(limited)
        .map(([limit, count]) => `${count} refused by ${limit}`)
        .join(', '),
    ],
  ])
}

/** A heading and what stands below it. */
interface Part {
  readonly title: string
  readonly headings: readonly string[]
  /** null: nobody can tell. */
  readonly rows: readonly (readonly Cell[])[] | null
}

function partText({ title, headings, rows }: Part): string {
  if (rows === null) return `\n${title}: not known\n`
  return rows.length === 0 ? `\n${title}: none\n` : `\n${title}\n${formatTable(headings, rows)}`
}

function podParts(page: PodPage, nowMs: number): readonly Part[] {
  const { policies, listeners, certificate, connections, counts, failures, changes } = page
  return [
    {
      title: 'CERTIFICATE',
      headings: CERTIFICATE_HEADINGS,
      rows: certificate === null ? [] : [certificateCells(certificate, nowMs)],
    },
    {
      title: 'POLICIES that say who may call it',
      headings: ['POLICY', 'SCOPE', 'ENFORCED', 'EFFECT'],
      rows: policies.map(({ policy, scope, isDryRun, effect }) => [
        ...[policy, scope, isDryRun ? 'no, a dry run' : 'yes', effect],
      ]),
    },
    {
      title: 'LISTENERS',
      headings: ['PORT', 'OF', 'STATE', 'WAITING', 'ADDRESSES', 'WHAT'],
      rows:
        listeners?.map(({ port, owner, state, waitingCount, addresses, names }) => [
          ...[port, owner, LISTENER_TEXTS[state], waitingCount, addresses.join(', '), names.join(', ')],
        ]) ?? null,
    },
    {
      title: 'CONNECTIONS now',
      headings: CONNECTION_HEADINGS,
      rows: connections.map(connectionCells),
    },
    {
      title: 'COUNTED since its data process began, by end',
      headings: ['WAY', 'WIRE', 'END', 'OPENED', 'FAILED', 'SENT', 'RECEIVED'],
      rows: counts.map(countCells),
    },
    {
      title: 'FAILURES lately, the last one at the end',
      headings: ['TIME', 'WAY', 'CODE', 'PEER', 'DESTINATION', 'POLICY', 'REASON', 'FIX'],
      rows: failures.map(({ time, direction, code, peer, destination, policy, detail, fix }) => [
        ...[time, direction, code, peer, destination, policy, detail, fix],
      ]),
    },
    {
      title: 'CHANGES lately of the pod itself',
      headings: ['TIME', 'WHAT', 'DETAIL'],
      rows: changes.map(({ time, what, detail }) => [time, what, detail]),
    },
  ]
}

const LISTENER_TEXTS: Readonly<Record<ListenerState, string>> = {
  listens: 'listens',
  'loopback-only': 'ONLY ON LOOPBACK',
  silent: 'NOBODY LISTENS',
}

/** Bytes as the pod sees them; counters have them as the client does. */
function countCells({
  direction,
  isPlaintext,
  reason,
  ...count
}: PodPage['counts'][number]): readonly Cell[] {
  const { opened, failed, receivedBytes: toServer, sentBytes: toClient } = count
  const bytes = direction === 'outbound' ? [toServer, toClient] : [toClient, toServer]
  return [direction, isPlaintext ? 'plain' : 'mTLS', reason, opened, failed, ...bytes]
}
