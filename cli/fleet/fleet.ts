// SPDX-License-Identifier: Apache-2.0
// The nodes a command looks at, wherever they are: running ones on this machine, those of the demo, of a cluster, or what
// was written down of some. One interface, so that no command knows which.
import type { InboundAsked, InboundFacts } from '../../ztunnel/decide/inbound-facts.ts'
import type { OutboundFacts, PairAsked } from '../../ztunnel/decide/outbound-facts.ts'
import type { PodFacts } from '../../ztunnel/decide/pod-facts.ts'

/** One ztunnel. Methods throw CliError when it does not answer. */
export interface FleetNode {
  /** How people know it before it was asked: an address, a node of the cluster. */
  readonly label: string
  /** Its name in the mesh. */
  name(): Promise<string>
  /** What a route of its admin API answers. */
  read(path: string): Promise<string>
  /** What a route goes on answering, until `signal`. The reader's pace is the stream's. */
  stream(path: string, signal: AbortSignal): AsyncIterable<Buffer>
  /** Does what a route of its admin API does. */
  post(path: string): Promise<string>
  outbound(asked: PairAsked): Promise<OutboundFacts>
  inbound(asked: InboundAsked): Promise<InboundFacts>
  /** Its pods of that name. */
  pod(name: string): Promise<readonly PodFacts[]>
}

/** Some nodes. */
export interface Fleet {
  readonly nodes: readonly FleetNode[]
  /** Those that may serve this pod, `namespace/name`, a name or an address; all when nobody can tell. */
  nodesOf(pod: string): Promise<readonly FleetNode[]>
}

/** A fleet that cannot tell where a pod is. */
export function plainFleet(nodes: readonly FleetNode[]): Fleet {
  return { nodes, nodesOf: async () => nodes }
}
