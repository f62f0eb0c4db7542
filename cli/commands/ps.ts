// SPDX-License-Identifier: Apache-2.0
// `sidestep ps [POD]`: the pods of the mesh, or all that its node has of one.
import type { PodFacts } from '../../ztunnel/decide/pod-facts.ts'
import { askAll, type NodePageFacts, readJson } from '../ask-all.ts'
import { CliError, EXIT_OK, EXIT_USAGE } from '../exit-codes.ts'
import { type CommandIo, print } from '../output.ts'
import { formatFields, formatTable } from '../table.ts'
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
  const { pod, workload, health, services, policies, certificate, connections, failures, changes, mendedMs } =
    page
  const about = formatFields([
    ['pod', `${pod.namespace}/${pod.name}`],
    ['node', health.node],
    ['identity', workload?.identity ?? 'enrolled but not configured'],
    ['addresses', workload?.ips.join(', ') ?? ''],
    ['services', services.join(', ')],
    [
      'configuration',
      health.isConnected ? `current, from ${health.source}` : `stale: no stream to ${health.controller}`,
    ],
    ['redirection', mendedMs === null ? 'as it should be' : `mended at ${new Date(mendedMs).toISOString()}`],
  ])
  const part = (title: string, count: number, table: string): string =>
    `\n${title}${count === 0 ? ': none\n' : `\n${table}`}`
  return [
    about,
    part(
      'CERTIFICATE',
      certificate === null ? 0 : 1,
      formatTable(CERTIFICATE_HEADINGS, certificate === null ? [] : [certificateCells(certificate, nowMs)]),
    ),
    part(
      'POLICIES that say who may call it',
      policies.length,
      formatTable(
        ['POLICY', 'ACTION', 'SCOPE', 'RULES', 'ENFORCED'],
        policies.map(({ policy, action, scope, ruleCount, isDryRun }) => [
          ...[policy, action, scope, ruleCount, isDryRun ? 'no, a dry run' : 'yes'],
        ]),
      ),
    ),
    part(
      'CONNECTIONS now',
      connections.length,
      formatTable(CONNECTION_HEADINGS, connections.map(connectionCells)),
    ),
    part(
      'FAILURES lately, the last one at the end',
      failures.length,
      formatTable(
        ['TIME', 'WAY', 'CODE', 'PEER', 'DESTINATION', 'POLICY', 'FIX'],
        failures.map(({ time, direction, code, peer, destination, policy, fix }) => [
          ...[time, direction, code, peer, destination, policy, fix],
        ]),
      ),
    ),
    part(
      'CHANGES lately of the pod itself',
      changes.length,
      formatTable(
        ['TIME', 'WHAT', 'DETAIL'],
        changes.map(({ time, what, detail }) => [time, what, detail]),
      ),
    ),
  ].join('')
}
