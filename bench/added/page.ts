// SPDX-License-Identifier: Apache-2.0
// The page about what a tunnel adds to a request. Pure.
import { roundRow, roundTable } from '../measure/round-table.ts'
import type { SubjectName } from '../results.ts'
import type { Latencies, Latency, Round } from './measure.ts'

const ADDED_GOAL_MS = 0.2
const RISE_GOAL_PERCENT = 25

/** What the page says of the run itself. */
export interface RunDescription {
  readonly cores: number
  readonly cpu: string
  readonly node: string
  readonly commit: string
  readonly seconds: number
  readonly requestsPerSecond: number
  /** Of the neighbour. */
  readonly gbitPerSecond: number
}

type Key = keyof Latency

const figureOf = (latencies: Latencies | undefined, name: SubjectName, key: Key): number =>
  latencies?.get(name)?.[key] ?? Number.NaN

/** Milliseconds that a subject adds to what a request takes without it at the same time; one figure for each round. */
export function addedMs(rounds: readonly Round[], name: SubjectName, key: Key): readonly number[] {
  return rounds.map(({ alone }) => (figureOf(alone, name, key) - figureOf(alone, 'direct', key)) / 1000)
}

/** How much longer requests of `name` take while the neighbour talks through `talked`, in percent; one figure for each round. */
export function risePercent(
  rounds: readonly Round[],
  name: SubjectName,
  talked: SubjectName,
  key: Key,
): readonly number[] {
  return rounds.map(
    ({ alone, beside }) => (figureOf(beside.get(talked), name, key) / figureOf(alone, name, key) - 1) * 100,
  )
}

const isSmallRise = (percent: number): boolean => percent < RISE_GOAL_PERCENT
const goalOf = (name: SubjectName, text: string): string => (name === 'sidestep' ? text : '')

function aloneRows(rounds: readonly Round[], names: readonly SubjectName[]): readonly string[] {
  const loads = rounds.map(({ load }) => load)
  const ms = (name: SubjectName, key: Key): number[] =>
    rounds.map(({ alone }) => figureOf(alone, name, key) / 1000)
  const added = names.filter((name) => name !== 'direct')
  return [
    roundRow('load of the machine before the round', loads, 1),
    ...names.flatMap((name) => [
      roundRow(`${name}: median, ms`, ms(name, 'p50'), 3),
      roundRow(`${name}: p99, ms`, ms(name, 'p99'), 3),
    ]),
    ...added.flatMap((name) => {
      const goal = goalOf(name, `≤ ${ADDED_GOAL_MS}`)
      return [
        roundRow(`added by ${name}: median, ms`, addedMs(rounds, name, 'p50'), 3),
        roundRow(
          `added by ${name}: p99, ms`,
          addedMs(rounds, name, 'p99'),
          3,
          goal,
          (ms) => ms <= ADDED_GOAL_MS,
        ),
      ]
    }),
  ]
}

function besideRows(rounds: readonly Round[], talked: SubjectName): readonly string[] {
  const what = `through ${talked}:`
  const goal = goalOf(talked, `< ${RISE_GOAL_PERCENT}`)
  return [
    roundRow(`${what} p99 of direct rises by, %`, risePercent(rounds, 'direct', talked, 'p99'), 0),
    roundRow(`${what} its median rises by, %`, risePercent(rounds, talked, talked, 'p50'), 0),
    roundRow(`${what} its p99 rises by, %`, risePercent(rounds, talked, talked, 'p99'), 0, goal, isSmallRise),
  ]
}

export function renderPage(rounds: readonly Round[], run: RunDescription): string {
  const names = [...(rounds[0]?.alone.keys() ?? [])]
  const talked = names.filter((name) => name !== 'direct')
  return `<!-- Written by \`npm run bench:added\`. -->
# What a tunnel adds to a request

${run.requestsPerSecond} requests a second for ${run.seconds} s through each subject, **in turn**, each for a tenth of a second: what the machine does
beside falls on all of them, and none waits for the programs of another. The same random arrivals, latency from the intended
time; every subject has two nodes and two pods of its own. ${run.cores} cores for all of them, for those who ask and for those who
answer: ${run.cpu}, Node ${run.node}, commit ${run.commit}.

${roundTable(rounds.length, aloneRows(rounds, names))}

- **Added**: more than *direct* takes, which is measured in between: no proxy, no encryption. A request and its
  answer pass two proxies: four more wakes of a process than without them.

## Beside a neighbour

The same while a pod of the same node moves ${run.gbitPerSecond} Gbit/s over four connections through one of the subjects. *direct* goes
through neither: what it rises by is the processors' and the kernel's share.

${roundTable(
  rounds.length,
  talked.flatMap((name) => besideRows(rounds, name)),
)}
`
}
