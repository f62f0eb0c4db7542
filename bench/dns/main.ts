// SPDX-License-Identifier: Apache-2.0
// What does a question cost a pod that goes through the ztunnel, and how many does a node answer? Writes DNS.md beside
// RESULTS.md. Needs root (network namespaces). usage: npm run bench:dns [-- --rounds N --seconds N --rate N --out DIRECTORY]
import { writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { DnsAnswers } from '../load/dns-ask.ts'
import { ALONE } from '../load/turn.ts'
import { describeCommit } from '../measure/machine.ts'
import { roundRow, roundTable } from '../measure/round-table.ts'
import { DnsLab, type Way } from './dns-lab.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    rate: { type: 'string', default: '500' },
    out: { type: 'string', default: join(import.meta.dirname, '..') },
  },
})
const [ROUNDS, SECONDS, RATE] = [Number(values.rounds), Number(values.seconds), Number(values.rate)]
const WINDOW = 64
const WARM_UP_SECONDS = 2
/** Of every asking program: its first questions are about it alone. */
const ASKER_WARM_UP_SECONDS = 1
const ADDED_GOAL_MS = 0.2
const ANSWERS_GOAL = 20_000

type Answers = ReadonlyMap<Way, DnsAnswers>

/** One round: all ways at the rate in turn, then each without pause. */
interface Round {
  readonly load: number
  readonly atRate: Answers
  readonly most: Answers
}

/** In turn, a tenth of a second each: what the machine does beside is in all of them, and none is in the way of another. */
async function measureAtRate(lab: DnsLab): Promise<Answers> {
  const of = lab.ways.length
  const load = { seconds: SECONDS, warmUpSeconds: ASKER_WARM_UP_SECONDS, rate: RATE, window: 1 }
  const asked = lab.ways.map(
    async (way, index) => [way, await lab.ask(way, { ...load, turn: { index, of } })] as const,
  )
  return new Map(await Promise.all(asked))
}

async function measureMost(lab: DnsLab): Promise<Answers> {
  const load = {
    turn: ALONE,
    seconds: SECONDS,
    warmUpSeconds: ASKER_WARM_UP_SECONDS,
    rate: 0,
    window: WINDOW,
  }
  const found = new Map<Way, DnsAnswers>()
  for (const way of lab.ways) found.set(way, await lab.ask(way, load))
  return found
}

async function measure(): Promise<Round[]> {
  const lab = await DnsLab.open()
  try {
    for (const way of lab.ways)
      await lab.ask(way, { turn: ALONE, seconds: WARM_UP_SECONDS, warmUpSeconds: 0, rate: 0, window: WINDOW })
    const rounds: Round[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const load = loadavg()[0] ?? Number.NaN
      rounds.push({ load, atRate: await measureAtRate(lab), most: await measureMost(lab) })
    }
    return rounds
  } finally {
    await lab.close()
  }
}

function addedRow(way: Way, figures: readonly number[]): string {
  const what = `added by ${way}: p99, ms`
  if (way === 'dnsmasq') return roundRow(what, figures, 3)
  return roundRow(what, figures, 3, `≤ ${ADDED_GOAL_MS}`, (figure) => figure <= ADDED_GOAL_MS)
}

function mostRow(way: Way, figures: readonly number[]): string {
  const what = `${way}: most per second`
  return way === 'answered'
    ? roundRow(what, figures, 0, `≥ ${ANSWERS_GOAL}`, (figure) => figure >= ANSWERS_GOAL)
    : roundRow(what, figures, 0)
}

function page(rounds: readonly Round[], commit: string): string {
  const ways = [...(rounds[0]?.atRate.keys() ?? [])]
  const ms = (way: Way, key: 'p50Micros' | 'p99Micros'): number[] =>
    rounds.map(({ atRate }) => (atRate.get(way)?.[key] ?? Number.NaN) / 1000)
  const minus = (left: readonly number[], right: readonly number[]): number[] =>
    left.map((figure, index) => figure - (right[index] ?? Number.NaN))
  const added = (way: Way, key: 'p50Micros' | 'p99Micros'): number[] => minus(ms(way, key), ms('direct', key))
  const perSecond = (way: Way): number[] => rounds.map(({ most }) => most.get(way)?.perSecond ?? Number.NaN)
  const failures = rounds.map(({ atRate, most }) =>
    [...atRate.values(), ...most.values()].reduce((sum, answers) => sum + answers.failures, 0),
  )
  const others = ways.filter((way) => way !== 'direct')
  const rows = [
    roundRow(
      'load of the machine before the round',
      rounds.map(({ load }) => load),
      1,
    ),
    ...ways.map((way) => roundRow(`${way}: median, ms`, ms(way, 'p50Micros'), 3)),
    ...ways.map((way) => roundRow(`${way}: p99, ms`, ms(way, 'p99Micros'), 3)),
    ...others.map((way) => roundRow(`added by ${way}: median, ms`, added(way, 'p50Micros'), 3)),
    ...others.map((way) => addedRow(way, added(way, 'p99Micros'))),
    ...ways.map((way) => mostRow(way, perSecond(way))),
    roundRow('questions without an answer', failures, 0),
  ]
  return `<!-- Written by \`npm run bench:dns\`. -->
# DNS of a pod

One ztunnel (2 workers) and a resolver that answers at once, on ${cpus().length} cores shared with the program that asks:
${cpus()[0]?.model.trim()}, Node ${process.version}, commit ${commit}. *direct*: a pod that is not enrolled asks the resolver;
*dnsmasq*: a pod asks a dnsmasq (C, no cache) in its own namespace, which asks the resolver; *forwarded*: an enrolled pod
asks the resolver for the same name; *answered*: it asks for a service.

${roundTable(rounds.length, rows)}

- **Median, p99**: ${RATE} questions a second for ${SECONDS} s, each from a port of its own: the kernel's connection table is asked for
  every one that is forwarded. The time is the asking program's, from its send call to the answer in its hand. The ways are
  asked in turn, each for a tenth of a second: what the machine does beside falls on all of them, and none waits for the
  programs of another. The first second of each is not counted.
- **What a forwarder costs anyway**: a question that is forwarded wakes two more programs. *dnsmasq* shows what that alone
  costs on this machine, without the redirection and the question to the connection table that ours needs.
- **Most per second**: ${WINDOW} questions under way from one port, the next one with each answer. Who asks, who answers and the
  resolver share the cores: it is what is left for the ztunnel, not what it could do alone.
- **Load**: processes that wanted a core in the minute before. Read times only where it is small.
`
}

const rounds = await measure()
const text = page(rounds, await describeCommit(join(import.meta.dirname, '..', '..')))
writeFileSync(join(values.out, 'DNS.md'), text)
console.log(text)
