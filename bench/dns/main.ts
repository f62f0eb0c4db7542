// SPDX-License-Identifier: Apache-2.0
// What does a question cost a pod that goes through the ztunnel, and how many does a node answer? Writes DNS.md beside
// RESULTS.md. Needs root (network namespaces). usage: npm run bench:dns [-- --rounds N --seconds N --rate N --out DIRECTORY]
import { writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { DnsAnswers } from '../load/dns-ask.ts'
import { describeCommit } from '../measure/machine.ts'
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
const ADDED_GOAL_MS = 0.2
const ANSWERS_GOAL = 20_000
const WAYS = ['direct', 'forwarded', 'answered'] as const

/** One round: every way at the rate and without pause. */
interface Round {
  readonly load: number
  readonly atRate: Readonly<Record<Way, DnsAnswers>>
  readonly most: Readonly<Record<Way, DnsAnswers>>
}

async function measureAll(lab: DnsLab, rate: number): Promise<Readonly<Record<Way, DnsAnswers>>> {
  const found: Partial<Record<Way, DnsAnswers>> = {}
  for (const way of WAYS) found[way] = await lab.ask(way, { seconds: SECONDS, rate, window: WINDOW })
  return found as Readonly<Record<Way, DnsAnswers>> // as: all ways are in WAYS
}

async function measure(): Promise<Round[]> {
  const lab = await DnsLab.open()
  try {
    for (const way of WAYS) await lab.ask(way, { seconds: WARM_UP_SECONDS, rate: 0, window: WINDOW })
    const rounds: Round[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const load = loadavg()[0] ?? Number.NaN
      rounds.push({ load, atRate: await measureAll(lab, RATE), most: await measureAll(lab, 0) })
    }
    return rounds
  } finally {
    await lab.close()
  }
}

/** One row: what, each round's figure, the goal and whether every round reached it. */
function row(
  what: string,
  figures: readonly number[],
  digits: number,
  goal = '',
  isReached: (figure: number) => boolean = () => true,
): string {
  const verdict = goal === '' ? '' : figures.every(isReached) ? 'reached' : '**missed**'
  return `| ${[what, ...figures.map((figure) => figure.toFixed(digits)), goal, verdict].join(' | ')} |`
}

function page(rounds: readonly Round[], commit: string): string {
  const ms = (way: Way, key: 'p50Micros' | 'p99Micros'): number[] =>
    rounds.map(({ atRate }) => atRate[way][key] / 1000)
  const added = (way: Way, key: 'p50Micros' | 'p99Micros'): number[] =>
    rounds.map(({ atRate }) => (atRate[way][key] - atRate.direct[key]) / 1000)
  const perSecond = (way: Way): number[] => rounds.map(({ most }) => most[way].perSecond)
  const shares = (way: Way): number[] => rounds.map(({ most }) => most[way].perSecond / most.direct.perSecond)
  const failures = rounds.map(({ atRate, most }) =>
    WAYS.reduce((sum, way) => sum + atRate[way].failures + most[way].failures, 0),
  )
  const isQuick = (figure: number): boolean => figure <= ADDED_GOAL_MS
  const rows = [
    row(
      'load of the machine before the round',
      rounds.map(({ load }) => load),
      1,
    ),
    ...WAYS.map((way) => row(`${way}: median, ms`, ms(way, 'p50Micros'), 3)),
    ...WAYS.map((way) => row(`${way}: p99, ms`, ms(way, 'p99Micros'), 3)),
    row('added by forwarding: median, ms', added('forwarded', 'p50Micros'), 3),
    row('added by forwarding: p99, ms', added('forwarded', 'p99Micros'), 3, `≤ ${ADDED_GOAL_MS}`, isQuick),
    row('added by answering: p99, ms', added('answered', 'p99Micros'), 3, `≤ ${ADDED_GOAL_MS}`, isQuick),
    ...WAYS.map((way) =>
      way === 'answered'
        ? row(`${way}: most per second`, perSecond(way), 0, `≥ ${ANSWERS_GOAL}`, (n) => n >= ANSWERS_GOAL)
        : row(`${way}: most per second`, perSecond(way), 0),
    ),
    row('forwarded, of direct', shares('forwarded'), 2),
    row('answered, of direct', shares('answered'), 2),
    row('questions without an answer', failures, 0),
  ]
  return `<!-- Written by \`npm run bench:dns\`. -->
# DNS of a pod

One ztunnel (2 workers) and a resolver that answers at once, on ${cpus().length} cores shared with the program that asks:
${cpus()[0]?.model.trim()}, Node ${process.version}, commit ${commit}. *direct*: a pod that is not enrolled asks the resolver;
*forwarded*: an enrolled pod asks it for the same name; *answered*: it asks for a service. Ways take turns in every round.

| | ${rounds.map((_, index) => `Round ${index + 1}`).join(' | ')} | Goal | |
|---|${rounds.map(() => '---|').join('')}---|---|
${rows.join('\n')}

- **Median, p99**: ${RATE} questions a second for ${SECONDS} s, each from a port of its own: the kernel's connection table is asked for
  every one that is forwarded. The time is the asking program's, from its send call to the answer in its hand.
- **Most per second**: ${WINDOW} questions under way from one port, the next one with each answer. Who asks, who answers and the
  resolver share the cores: it is what is left for the ztunnel, not what it could do alone.
- **Load**: processes that wanted a core in the minute before. Read times only where it is small.
`
}

const rounds = await measure()
const text = page(rounds, await describeCommit(join(import.meta.dirname, '..', '..')))
writeFileSync(join(values.out, 'DNS.md'), text)
console.log(text)
