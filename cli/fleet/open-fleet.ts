// SPDX-License-Identifier: Apache-2.0
// Which nodes a command looks at, by its options. What speaks to a cluster is loaded only for a cluster.
import { tmpdir } from 'node:os'
import { CliError, EXIT_USAGE } from '../exit-codes.ts'
import type { CommonFlags } from '../output.ts'
import { demoNodes } from './demo.ts'
import { readDump } from './dump.ts'
import { type Fleet, plainFleet } from './fleet.ts'
import { liveNode, reachAddress } from './live-node.ts'

/** Opens it. @throws CliError when the options contradict each other, or nobody is there */
export async function openFleet(flags: CommonFlags): Promise<Fleet> {
  const { node, dump, demo, kubeconfig, context } = flags
  const isCluster = kubeconfig !== undefined || context !== undefined
  const named = [node.length > 0, dump !== undefined, demo === true, isCluster]
  if (named.filter(Boolean).length > 1)
    throw new CliError(EXIT_USAGE, 'one of --node, --dump, --demo and --kubeconfig or --context, not several')
  if (node.length > 0) return plainFleet(node.map((address) => liveNode(address, reachAddress(address))))
  if (dump !== undefined) return plainFleet(await readDump(dump))
  if (demo === true) return plainFleet(await demoNodes(tmpdir()))
  const { openCluster } = await import('./cluster.ts')
  return await openCluster({ kubeconfig: kubeconfig ?? '', context: context ?? '' })
}
