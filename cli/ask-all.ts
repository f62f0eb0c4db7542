// SPDX-License-Identifier: Apache-2.0
// One page of all nodes at once. Nodes that do not answer are told and left out; that nobody answers is an error.
import { CliError, EXIT_UNREACHABLE } from './exit-codes.ts'
import type { Fleet, FleetNode } from './fleet/fleet.ts'
import type { CommandIo } from './output.ts'
import { printable } from './printable.ts'

/** What one node answered. */
export interface NodePage<T> {
  readonly node: string
  readonly page: T
}

/** `/node`, as far as it is looked at. */
export interface NodePageFacts {
  readonly node: string
  readonly nowMs: number
  readonly version: { readonly node: string; readonly model: number }
  readonly logLevel: string
  readonly pods: readonly {
    readonly uid: string
    readonly namespace: string
    readonly name: string
    readonly serviceAccount: string
  }[]
  readonly source: Readonly<Record<string, unknown>>
  readonly findings: readonly string[]
  readonly pending: readonly string[]
  readonly isDraining: boolean
}

/** Asks every node. @throws CliError when none answers */
export async function askAll<T>(
  io: CommandIo,
  { nodes }: Fleet,
  question: (node: FleetNode) => Promise<T>,
): Promise<readonly NodePage<T>[]> {
  const answers = await Promise.allSettled(
    nodes.map(async (node) => ({ node: await node.name(), page: await question(node) })),
  )
  const failures: string[] = []
  const pages = answers.flatMap((answer) => {
    if (answer.status === 'fulfilled') return [answer.value]
    if (!(answer.reason instanceof CliError)) throw answer.reason
    failures.push(answer.reason.message)
    return []
  })
  if (pages.length === 0)
    throw new CliError(EXIT_UNREACHABLE, failures.join('\n') || 'there is no node to ask')
  for (const failure of failures) io.warn(`${printable(failure)}\n`)
  return pages
}

/** Reads a page of JSON. */
export async function readJson<T>(node: FleetNode, path: string): Promise<T> {
  return JSON.parse(await node.read(path)) as T // as: our API, as far as the caller looks at it
}
