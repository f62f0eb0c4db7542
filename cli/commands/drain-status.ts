// SPDX-License-Identifier: Apache-2.0
// `sidestep drain status`: the generations of every node's data process, and what those wait for that drain.
import { askAll, readJson } from '../ask-all.ts'
import { EXIT_OK } from '../exit-codes.ts'
import { type CommandIo, print } from '../output.ts'
import { type Cell, formatTable } from '../table.ts'
import { CONNECTION_HEADINGS, type ConnectionRow, connectionCells } from './tables.ts'

/** A data process, as far as it is looked at. */
interface GenerationRow {
  readonly pid: number
  readonly version: string
  readonly startedAt: string
  /** null: it serves. */
  readonly drainingSince: string | null
  readonly connectionCount: number
  readonly idleTunnelCount: number
  /** The oldest ones. */
  readonly connections: ReadonlyArray<Omit<ConnectionRow, 'uid'> & { readonly pod: string }>
}

interface DrainPage extends GenerationRow {
  /** Those before this one. */
  readonly generations: readonly GenerationRow[]
}

const GENERATION_HEADINGS = ['NODE', 'STATE', 'PID', 'VERSION', 'SINCE', 'WAITS FOR', 'IDLE TUNNELS']
const HELD_HEADINGS = ['NODE', 'PID', 'POD', ...CONNECTION_HEADINGS]

/** Which generations there are, and what they wait for. */
export async function drainStatus(io: CommandIo): Promise<number> {
  const pages = await askAll(io, await io.openFleet(), (node) => readJson<DrainPage>(node, '/drain'))
  print(io, pages, (all) => {
    const generations = all.flatMap(({ node, page }) =>
      [...page.generations, page].map((generation) => ({ node, generation })),
    )
    const held = generations.flatMap(({ node, generation }) =>
      generation.connections.map((each): readonly Cell[] => [
        ...[node, generation.pid, each.pod],
        ...connectionCells({ uid: '', ...each }),
      ]),
    )
    const table = formatTable(
      GENERATION_HEADINGS,
      generations.map(({ node, generation }) => generationCells(node, generation)),
    )
    return held.length === 0 ? table : `${table}\n${formatTable(HELD_HEADINGS, held)}`
  })
  return EXIT_OK
}

function generationCells(node: string, generation: GenerationRow): readonly Cell[] {
  const { pid, version, startedAt, drainingSince, connectionCount, idleTunnelCount } = generation
  const isDraining = drainingSince !== null
  return [
    ...[node, isDraining ? 'draining' : 'serving', pid, version, drainingSince ?? startedAt],
    ...(isDraining ? [connectionCount, idleTunnelCount] : [null, null]),
  ]
}
