// SPDX-License-Identifier: Apache-2.0
// What was written down of a fleet: every page of every node's admin API in one JSON document. Made by `sidestep dump`, read
// in place of running nodes, which are gone or somebody else's by then.
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { DumpedIdentity } from '../../mesh/identity/certificate-view.ts'
import { type MeshConfig, MeshState } from '../../mesh/model/mesh-state.ts'
import { inboundFacts } from '../../ztunnel/decide/inbound-facts.ts'
import type { NodeView } from '../../ztunnel/decide/node-view.ts'
import { outboundFacts } from '../../ztunnel/decide/outbound-facts.ts'
import { podFacts } from '../../ztunnel/decide/pod-facts.ts'
import { NO_ACTIVITY, type PodActivity } from '../../ztunnel/decide/pod-listeners.ts'
import { CliError, EXIT_UNREACHABLE, EXIT_USAGE } from '../exit-codes.ts'
import type { FleetNode } from './fleet.ts'

/** What is asked of a node; `/records` as lines. */
export const DUMPED_PATHS = [
  '/node',
  '/config_dump',
  '/connections',
  '/certificates',
  '/records',
  '/metrics',
  '/edges',
  '/drain',
  '/events',
  '/pod-activity',
] as const
type DumpedPath = (typeof DUMPED_PATHS)[number]

/** One node of a dump. `error`: what did not answer. */
export interface DumpedNode {
  readonly label: string
  readonly pages: Readonly<Partial<Record<DumpedPath, string>>>
  readonly error: string
}

/** A dump. */
export interface FleetDump {
  readonly kind: 'sidestep-dump'
  readonly version: 1
  /** RFC 3339. */
  readonly createdAt: string
  readonly nodes: readonly DumpedNode[]
}

/** One file: longer ones are no string to V8. More nodes go into several files of a directory. */
const MAX_DUMP_BYTES = 500 * 1024 * 1024

/** Takes a dump; nodes that do not answer are in it with their error. `nowMs` is epoch ms. */
export async function takeDump(nodes: readonly FleetNode[], nowMs: number): Promise<FleetDump> {
  const dumped: DumpedNode[] = []
  // One after the other: a page may be large, and a dump is in no hurry.
  for (const node of nodes) {
    const pages: Partial<Record<DumpedPath, string>> = {}
    let error = ''
    for (const path of DUMPED_PATHS) {
      try {
        pages[path] = withoutSecrets(await node.read(path))
      } catch (cause) {
        error = cause instanceof Error ? cause.message : String(cause)
        break
      }
    }
    dumped.push({ label: node.label, pages, error })
  }
  return { kind: 'sidestep-dump', version: 1, createdAt: new Date(nowMs).toISOString(), nodes: dumped }
}

// Nodes give no key away; should one ever slip into a page, it does not get into a file that people send around. PEM
// stands in pages as it is or as base64 of it.
const KEY_PEM = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g
const KEY_BASE64 = /LS0tLS1CRUdJTi[A-Za-z0-9+/=]+/g

/** A page without private keys, should it have any. */
export function withoutSecrets(page: string): string {
  return page
    .replace(KEY_PEM, '(a private key)')
    .replace(KEY_BASE64, (text) =>
      /PRIVATE KEY/.test(Buffer.from(text, 'base64').toString('latin1')) ? '(a private key)' : text,
    )
}

/** Reads a dump: a file, or all `.json` files of a directory. @throws CliError */
export async function readDump(path: string): Promise<readonly FleetNode[]> {
  const about = await stat(path).catch((error: unknown) => {
    throw new CliError(EXIT_UNREACHABLE, `there is no dump ${path}`, error)
  })
  const names = about.isDirectory() ? (await readdir(path)).filter((name) => name.endsWith('.json')) : ['']
  const dumps = await Promise.all(names.toSorted().map((name) => readDumpFile(join(path, name))))
  const nodes = dumps.flatMap((dump) => dump.nodes.map(dumpNode))
  if (nodes.length === 0) throw new CliError(EXIT_UNREACHABLE, `${path} has no node in it`)
  return nodes
}

async function readDumpFile(file: string): Promise<FleetDump> {
  if ((await stat(file)).size > MAX_DUMP_BYTES)
    throw new CliError(EXIT_USAGE, `${file} is too large for a dump`)
  try {
    const dump = JSON.parse(await readFile(file, 'utf8')) as Partial<FleetDump> | null // as: looked at below
    if (
      dump?.kind === 'sidestep-dump' &&
      dump.version === 1 &&
      Array.isArray(dump.nodes) &&
      dump.nodes.every(isNode)
    )
      return dump as FleetDump // as: just looked at
  } catch (error) {
    throw new CliError(EXIT_USAGE, `${file} is not JSON`, error)
  }
  throw new CliError(EXIT_USAGE, `${file} was not written by \`sidestep dump\``)
}

function isNode(value: unknown): boolean {
  const node = value as Partial<DumpedNode> | null // as: looked at here
  const { label, pages, error } = node ?? {}
  const areTexts =
    typeof pages === 'object' && Object.values(pages ?? {}).every((page) => typeof page === 'string')
  return typeof label === 'string' && typeof error === 'string' && areTexts
}

/** A node that is asked what it would have answered. */
export function dumpNode({ label, pages, error }: DumpedNode): FleetNode {
  const page = (path: DumpedPath): string => {
    const text = pages[path]
    if (text === undefined) throw new CliError(EXIT_UNREACHABLE, `${label} did not answer ${path}: ${error}`)
    return text
  }
  let view: NodeView | null = null
  const viewed = (): NodeView => {
    view ??= readView(page, pages)
    return view
  }
  return {
    label,
    name: async () => (JSON.parse(page('/node')) as { node: string }).node, // as: our API
    async read(path) {
      const known = DUMPED_PATHS.find((each) => each === path)
      if (known === undefined) throw new CliError(EXIT_USAGE, `a dump has no ${path}`)
      return page(known)
    },
    stream: (path) => {
      throw new CliError(EXIT_USAGE, `${path} needs a running node, and ${label} is a dump`)
    },
    async post(path) {
      throw new CliError(EXIT_USAGE, `${path} needs a running node, and ${label} is a dump`)
    },
    outbound: async (asked) => outboundFacts(viewed(), asked),
    inbound: async (asked) => inboundFacts(viewed(), asked),
    pod: async (name) => podFacts(viewed(), name),
  }
}

/** What `/node` says. */
type DumpedView = Omit<
  NodeView,
  'state' | 'records' | 'eventsOf' | 'activityOf' | 'certificateOf' | 'dnsFailures'
> &
  Partial<Pick<NodeView, 'dnsFailures'>>

function readView(page: (path: DumpedPath) => string, pages: DumpedNode['pages']): NodeView {
  try {
    const config = JSON.parse(page('/config_dump')) as MeshConfig & { version: { model: number } } // as: our API
    const node = JSON.parse(page('/node')) as DumpedView // as: our API
    const certificates = JSON.parse(page('/certificates')) as readonly DumpedIdentity[] // as: our API
    return {
      ...node,
      dnsFailures: node.dnsFailures ?? {}, // a dump of an older node has none
      state: config.version.model === 0 ? null : new MeshState(config, config.version.model),
      records: page('/records').split('\n'),
      eventsOf: eventsIn(page('/records'), pages['/events']),
      activityOf: activityIn(pages['/pod-activity']),
      certificateOf: (identity) => certificates.find((each) => each.identity === identity),
    }
  } catch (error) {
    if (error instanceof CliError) throw error
    throw new CliError(EXIT_USAGE, 'the dump is damaged', error)
  }
}

/** A dump of a node that kept no events: its records say what there is to say. */
function eventsIn(records: string, page: string | undefined): NodeView['eventsOf'] {
  if (page === undefined) return () => records.split('\n')
  const events = JSON.parse(page) as Readonly<Record<string, readonly unknown[]>> // as: our API
  return ({ namespace, name }) => (events[`${namespace}/${name}`] ?? []).map((event) => JSON.stringify(event))
}

function activityIn(page: string | undefined): NodeView['activityOf'] {
  const activities = JSON.parse(page ?? '{}') as Readonly<Record<string, PodActivity>> // as: our API
  return ({ uid }) => activities[uid] ?? NO_ACTIVITY
}
