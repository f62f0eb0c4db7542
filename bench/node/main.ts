// SPDX-License-Identifier: Apache-2.0
// What does a node cost in a mesh of 10,000 pods, and how soon does it decide by a changed policy? Writes NODE.md beside
// RESULTS.md. Needs root (network namespaces). usage: npm run bench:node [-- --rounds N --changes N --out DIRECTORY]
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { proportionalKb } from '../measure/process-usage.ts'
import { NAMESPACES, POLICIES, policyDocument, policyFile, SIZE, scopeOf } from './mesh-files.ts'
import { NodeLab, until, type WorkersAnswer } from './node-lab.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    changes: { type: 'string', default: '30' },
    out: { type: 'string', default: join(import.meta.dirname, '..') },
  },
})
const ROUNDS = Number(values.rounds)
const CHANGES = Number(values.changes)
/** Idle loops look at themselves every two seconds and collect garbage after a few looks. */
const SETTLE_MS = 16_000
const WORKLOADS = SIZE.services * SIZE.podsPerService
const MEMORY_GOAL_MB = 120
const POLICY_GOAL_MS = 50
const ENROLMENT_GOAL_MS = 10_000
/** Pods that are enrolled at once; those of a usual node while the mesh arrives. */
const NODE_PODS = 100
const MESH_PODS = 50
const TURN_GOAL_MS = 5

/** One round, fresh processes. */
interface Round {
  /** Processes that wanted a core before it began, on average over a minute. */
  readonly load: number
  /** Of a node with all its pods, and nothing but their services known. */
  readonly enrolledMs: number
  readonly enrolledMb: number
  readonly startMb: number
  readonly arrivedMb: number
  readonly endMb: number
  readonly peakMb: number
  readonly arrivalTurnMs: number
  readonly arrivalCpuMs: number
  readonly changeTurnMs: number
  readonly changeCpuMs: number
  /** Longest collection of an idle loop, apart from turns. */
  readonly trimMs: number
  /** One per change: from receipt until in force, and the main thread's part of it. */
  readonly changes: readonly { readonly totalMs: number; readonly sentMs: number }[]
}

const memoryMb = (lab: NodeLab): number => proportionalKb(lab.pids) / 1024
/** Asks the workers, and keeps the worst of all answers: each answer is about the time since the one before. */
class TurnWatch {
  turnMs = 0
  cpuMs = 0
  trimMs = 0
  readonly #lab: NodeLab

  constructor(lab: NodeLab) {
    this.#lab = lab
  }

  /** @throws Error when nobody has asked before: the first question begins the measuring of the CPU */
  async look(): Promise<WorkersAnswer> {
    const answer = await this.#lab.workers()
    for (const { longestTurnMs, longestTurnCpuMs, longestTrimMs } of answer.workers) {
      if (longestTurnCpuMs === null) throw new Error('the CPU of turns is not measured')
      this.turnMs = Math.max(this.turnMs, longestTurnMs)
      this.cpuMs = Math.max(this.cpuMs, longestTurnCpuMs)
      this.trimMs = Math.max(this.trimMs, longestTrimMs)
    }
    return answer
  }
}

function peakMb(pids: readonly number[]): number {
  const kb = pids.map((pid) =>
    Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]),
  )
  return kb.reduce((sum, each) => sum + each, 0) / 1024
}

async function changePolicy(
  lab: NodeLab,
  turns: TurnWatch,
  index: number,
  port: number,
): Promise<Round['changes'][number]> {
  const before = (await turns.look()).model.version
  lab.write(policyFile(index), policyDocument(scopeOf(index), index, port))
  return until('the change in force', async () => {
    const { inForce } = (await turns.look()).model
    return inForce !== null && inForce.version > before ? inForce : null
  })
}

/** All pods of the node at once. */
async function enrolAll(): Promise<Pick<Round, 'enrolledMs' | 'enrolledMb'>> {
  const lab = await NodeLab.open(NODE_PODS)
  try {
    await wait(SETTLE_MS)
    return { enrolledMs: lab.enrolledMs, enrolledMb: memoryMb(lab) }
  } finally {
    await lab.close()
  }
}

async function measure(): Promise<Round> {
  const load = loadavg()[0] ?? Number.NaN
  const enrolled = await enrolAll()
  const lab = await NodeLab.open(MESH_PODS)
  try {
    await wait(SETTLE_MS)
    const startMb = memoryMb(lab)
    await lab.workers() // from here on turns count
    const arrival = new TurnWatch(lab)
    lab.addMesh()
    await until(
      'the mesh arrived',
      async () => {
        const { workloads, policies, version, inForce } = (await arrival.look()).model
        return (workloads >= WORKLOADS && policies >= POLICIES && inForce?.version === version) || null
      },
      100,
    )
    await wait(SETTLE_MS)
    const arrivedMb = memoryMb(lab)
    await arrival.look()
    const changing = new TurnWatch(lab)
    const changes: Round['changes'][number][] = []
    for (let change = 0; change < CHANGES; change++)
      changes.push(await changePolicy(lab, changing, change % POLICIES, 9001 + change))
    await wait(SETTLE_MS)
    const endMb = memoryMb(lab)
    await changing.look()
    return {
      ...{ load, ...enrolled, startMb, arrivedMb, endMb, peakMb: peakMb(lab.pids), changes },
      ...{ arrivalTurnMs: arrival.turnMs, arrivalCpuMs: arrival.cpuMs },
      ...{ changeTurnMs: changing.turnMs, changeCpuMs: changing.cpuMs },
      trimMs: Math.max(arrival.trimMs, changing.trimMs),
    }
  } finally {
    await lab.close()
  }
}

function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

/** One row: what, each round's figure, the goal and whether every round reached it. */
function row(what: string, figures: readonly number[], unit: string, goal: number | null): string {
  const cells = figures.map((figure) => `${figure.toFixed(1)} ${unit}`)
  const verdict = goal === null ? '' : figures.every((figure) => figure <= goal) ? 'reached' : '**missed**'
  return `| ${[what, ...cells, goal === null ? '' : `≤ ${goal} ${unit}`, verdict].join(' | ')} |`
}

function enrolmentRows(of: (figure: (round: Round) => number) => number[]): string[] {
  return [
    row(
      `${NODE_PODS} pods enrolled`,
      of(({ enrolledMs }) => enrolledMs),
      'ms',
      ENROLMENT_GOAL_MS,
    ),
    row(
      `memory with ${NODE_PODS} pods`,
      of(({ enrolledMb }) => enrolledMb),
      'MB',
      MEMORY_GOAL_MB,
    ),
  ]
}

function page(rounds: readonly Round[]): string {
  const of = (figure: (round: Round) => number): number[] => rounds.map(figure)
  const totals = ({ changes }: Round): number[] => changes.map(({ totalMs }) => totalMs)
  const rows = [
    row(
      'load of the machine before the round',
      of(({ load }) => load),
      '',
      null,
    ),
    ...enrolmentRows(of),
    row(
      'memory before, the node’s own services known',
      of(({ startMb }) => startMb),
      'MB',
      null,
    ),
    row(
      `memory with ${WORKLOADS.toLocaleString('en-US')} workloads`,
      of(({ arrivedMb }) => arrivedMb),
      'MB',
      MEMORY_GOAL_MB,
    ),
    row(
      'memory after the changes of policy',
      of(({ endMb }) => endMb),
      'MB',
      MEMORY_GOAL_MB,
    ),
    row(
      'most that was resident at any time',
      of(({ peakMb: peak }) => peak),
      'MB',
      null,
    ),
    row(
      'policy in force, median',
      of((round) => percentile(totals(round), 0.5)),
      'ms',
      null,
    ),
    row(
      'policy in force, slowest',
      of((round) => Math.max(...totals(round))),
      'ms',
      POLICY_GOAL_MS,
    ),
    row(
      'longest turn while the mesh arrives',
      of(({ arrivalTurnMs }) => arrivalTurnMs),
      'ms',
      TURN_GOAL_MS,
    ),
    row(
      '… by the CPU it took',
      of(({ arrivalCpuMs }) => arrivalCpuMs),
      'ms',
      TURN_GOAL_MS,
    ),
    row(
      'longest turn while policies change',
      of(({ changeTurnMs }) => changeTurnMs),
      'ms',
      TURN_GOAL_MS,
    ),
    row(
      '… by the CPU it took',
      of(({ changeCpuMs }) => changeCpuMs),
      'ms',
      TURN_GOAL_MS,
    ),
    row(
      'longest collection in an idle loop',
      of(({ trimMs }) => trimMs),
      'ms',
      null,
    ),
  ]
  return `<!-- Written by \`npm run bench:node\`. -->
# A node in a large mesh

One ztunnel (supervisor and data process, 2 workers) that serves ${MESH_PODS} pods in their own namespaces (${NODE_PODS} where it says so) and follows a controller which
reads ${WORKLOADS.toLocaleString('en-US')} pods in ${SIZE.services.toLocaleString('en-US')} services of ${NAMESPACES} namespaces, and ${POLICIES} policies: 2 of the mesh, 5 of each namespace, the rest of single
services of this node, so that the controller sends all of them. ${cpus().length} cores, shared with the controller: ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}. Fresh processes in every round.

| | ${rounds.map((_, index) => `Round ${index + 1}`).join(' | ')} | Goal | |
|---|${rounds.map(() => '---|').join('')}---|---|
${rows.join('\n')}

- **Load**: processes that wanted a core in the minute before. Read times only where it is small: a thread that waits for a core
  is slow in everything.
- **${NODE_PODS} pods**: processes of their own, before the others. From the file that names all of them at once until each has its rules, its
  sockets and its certificate from the controller, and both workers serve it.
- **Memory**: proportional set size (\`smaps_rollup\`) of both processes, each time after ${SETTLE_MS / 1000} idle seconds. The most that was resident
  is the sum of both processes' \`VmHWM\`, shared pages counted twice.
- **Policy in force**: ${CHANGES} changes, those of the whole mesh among them. From the receipt of the discovery response in the data process
  (its clock of milliseconds) until the last worker has answered a message sent behind everything that the change sent to
  it. A worker takes messages in order and decides in the same thread: every connection that it accepts after its answer is
  decided by the new policy. The first one of each pod compiles that pod's policies, which is not in the figure.
- **Longest turn** of any worker's loop without its wait, by the clock on the wall: what the kernel gave to others meanwhile is in
  it. Beside it the most that one turn took of the CPU (\`getrusage\` of the thread): that is our own work and V8's; a turn may
  be the longest by one and not by the other. The collections that a loop makes once it has been idle for four seconds are apart.
  The mesh arrives in one burst: all files appear before the controller at once. The controller that reads them, the main
  thread that takes them and two loops then share ${cpus().length} cores, so a turn is interrupted wherever it stands: the difference of
  the two figures is time in which another one ran.
`
}

const rounds: Round[] = []
for (let round = 0; round < ROUNDS; round++) {
  rounds.push(await measure())
  process.stderr.write(
    `${JSON.stringify({
      ...rounds.at(-1),
      changes: rounds
        .at(-1)
        ?.changes.map(({ totalMs, sentMs }) => `${sentMs}/${totalMs}`)
        .join(' '),
    })}\n`,
  )
}
const text = page(rounds)
writeFileSync(join(values.out, 'NODE.md'), text)
process.stdout.write(text)
