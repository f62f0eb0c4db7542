// SPDX-License-Identifier: Apache-2.0
// `sidestep dump`

import { EXIT_OK, EXIT_UNREACHABLE } from '../exit-codes.ts'
import { takeDump } from '../fleet/dump.ts'
import type { CommandIo } from '../output.ts'
import { printable } from '../printable.ts'

/** Writes down what every node has; nodes that do not answer are in it with their error. Gives the exit code. */
export async function dump(io: CommandIo): Promise<number> {
  const { nodes } = await io.openFleet()
  const taken = await takeDump(nodes, io.nowMs())
  const failed = taken.nodes.filter(({ error }) => error !== '')
  for (const { error } of failed) io.warn(`${printable(error)}\n`)
  io.write(`${JSON.stringify(taken)}\n`)
  return failed.length === taken.nodes.length ? EXIT_UNREACHABLE : EXIT_OK
}
