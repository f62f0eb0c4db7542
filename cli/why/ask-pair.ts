// SPDX-License-Identifier: Apache-2.0
// Asks the nodes of both ends of a pair. The caller's node first: it says which destinations there are, and their nodes.
import type { InboundFacts } from '../../ztunnel/decide/inbound-facts.ts'
import type { OutboundFacts, PairAsked, PairWay } from '../../ztunnel/decide/outbound-facts.ts'
import { CliError, EXIT_UNREACHABLE, EXIT_USAGE } from '../exit-codes.ts'
import type { Fleet, FleetNode } from '../fleet/fleet.ts'
import type { AnsweredWay, PairFacts } from './pair-facts.ts'

interface Heard<T> {
  readonly node: FleetNode
  readonly facts: T
}

/** Asks. @throws CliError when nobody answers, or when the question means several things */
export async function askPair(fleet: Fleet, asked: PairAsked): Promise<PairFacts> {
  const silent = new Set<string>()
  const ask = async <T>(
    nodes: readonly FleetNode[],
    question: (node: FleetNode) => Promise<T>,
  ): Promise<readonly Heard<T>[]> => {
    const answers = await Promise.allSettled(
      nodes.map(async (node) => ({ node, facts: await question(node) })),
    )
    return answers.flatMap((answer) => {
      if (answer.status === 'fulfilled') return [answer.value]
      if (!(answer.reason instanceof CliError)) throw answer.reason
      silent.add(answer.reason.message)
      return []
    })
  }
  const heard = await ask(await fleet.nodesOf(asked.source), (node) => node.outbound(asked))
  if (heard.length === 0)
    throw new CliError(EXIT_UNREACHABLE, [...silent].join('\n') || 'there is no node to ask')
  const outbound = chooseOutbound(heard.map(({ facts }) => facts))
  assertClear(asked, outbound, heard)
  const isSourceNodeHeard = heard.some(({ facts }) => facts.health.node === outbound.source?.node)
  const inbound = async (way: PairWay): Promise<AnsweredWay> => {
    const { destination } = way
    if (destination === null || way.isWaypoint || destination.protocol !== 'HBONE')
      return { way, inbound: null }
    const question = {
      ...{ uid: destination.uid, ip: way.ip, port: way.port },
      sourceIps: outbound.source?.ips ?? [],
      identity: way.kind === 'hbone' ? (outbound.source?.identity ?? '') : '',
    }
    // A node that has told its name before need not be looked for.
    const known = heard.filter(({ facts }) => facts.health.node === destination.node).map(({ node }) => node)
    const nodes = known.length > 0 ? known : await fleet.nodesOf(destination.name)
    const answers = await ask(nodes, (node) => node.inbound(question))
    const facts = chooseInbound(
      answers.map((each) => each.facts),
      destination.node,
    )
    if (facts === null)
      silent.add(
        `the node ${destination.node} of ${destination.name} was not asked: it is not among the nodes given, or silent`,
      )
    return { way, inbound: facts }
  }
  const ways = await Promise.all(outbound.ways.map(inbound))
  return { asked, outbound, isSourceNodeHeard, ways, silent: [...silent] }
}

/** Who serves the caller knows best, then who is its node by the model, then whoever knows it at all. */
function chooseOutbound(all: readonly OutboundFacts[]): OutboundFacts {
  const score = ({ isServed, source, health, target }: OutboundFacts): number => {
    if (source === null) return 0
    return (isServed ? 4 : 0) + (source.node === health.node ? 2 : 0) + (target?.isOfMesh ? 1 : 0) + 1
  }
  const [best] = all.toSorted((left, right) => score(right) - score(left))
  if (best === undefined) throw new Error('somebody has answered')
  return best
}

function chooseInbound(all: readonly InboundFacts[], node: string): InboundFacts | null {
  return all.find(({ isServed }) => isServed) ?? all.find(({ health }) => health.node === node) ?? null
}

/** @throws CliError when the question means several things, or lacks a port */
function assertClear(
  asked: PairAsked,
  outbound: OutboundFacts,
  heard: readonly Heard<OutboundFacts>[],
): void {
  if (outbound.isServed || outbound.source !== null) {
    if (outbound.target?.port === 0 && outbound.target.ip !== '')
      throw new CliError(EXIT_USAGE, `${asked.destination} needs a port: ${asked.destination}:PORT`)
    return
  }
  const names = new Set(heard.flatMap(({ facts }) => facts.ambiguous))
  if (names.size > 0)
    throw new CliError(EXIT_USAGE, `${asked.source} may be ${[...names].join(', ')}: say which`)
}
