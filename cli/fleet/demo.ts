// SPDX-License-Identifier: Apache-2.0
// The nodes of the demo that runs on this machine: it keeps their sockets in its directory.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CliError, EXIT_UNREACHABLE } from '../exit-codes.ts'
import type { FleetNode } from './fleet.ts'
import { liveNode, reachAddress } from './live-node.ts'

/** As demo/cluster.ts names it. */
const DEMO_DIRECTORY = /^sidestep-demo-/
const NODE_SOCKET = /^node\d+\.sock$/

/** Looks in `directory`, where temporary files are. @throws CliError when no demo runs, or several do */
export async function demoNodes(directory: string): Promise<readonly FleetNode[]> {
  const demos: string[][] = []
  for (const name of (await readdir(directory)).filter((each) => DEMO_DIRECTORY.test(each))) {
    const path = join(directory, name)
    const files = await readdir(path).catch(() => []) // it may be another user's, or gone by now
    const sockets = files.filter((file) => NODE_SOCKET.test(file)).toSorted()
    if (sockets.length > 0) demos.push(sockets.map((file) => join(path, file)))
  }
  const [found, ...others] = demos
  if (found === undefined)
    throw new CliError(EXIT_UNREACHABLE, 'no demo runs here: start it with `npm run demo`')
  if (others.length > 0) {
    const choices = demos.map(([first = '']) => first).join(', ')
    throw new CliError(
      EXIT_UNREACHABLE,
      `several demos run here, say --node for each node of one: ${choices}`,
    )
  }
  return found.map((socket) => liveNode(socket, reachAddress(socket)))
}
