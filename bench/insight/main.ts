// SPDX-License-Identifier: Apache-2.0
// How long does somebody wait who asks a node of a mesh of 10,000 pods why a pair gets through or not, and what does it cost a
// node to know? Writes INSIGHT.md beside RESULTS.md. Needs root (network namespaces).
// usage: npm run bench:insight [-- --rounds N --runs N --seconds N --out DIRECTORY]
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeCommit } from '../measure/machine.ts'
import { median } from '../measure/statistics.ts'
import { podsOfNode, SIZE } from '../node/mesh-files.ts'
import { NodeLab, until } from '../node/node-lab.ts'
import { type InsightCost, measureInsightCost } from './cost.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    runs: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '15' },
    out: { type: 'string', default: join(import.meta.dirname, '..') },
  },
})
const [ROUNDS, RUNS, SECONDS] = [Number(values.rounds), Number(values.runs), Number(values.seconds)]
const ROOT = join(import.meta.dirname, '..', '..')
const CLI = join(ROOT, 'cli', 'sidestep.mjs')
const PODS = 50
const WHY_GOAL_MS = 300
const COST_GOAL_PERCENT = 2

/** What is asked, by its heading. */
type Command = readonly [what: string, program: readonly string[]]

function commands(lab: NodeLab): readonly Command[] {
  const [near, far] = podsOfNode()
  if (near === undefined || far === undefined) throw new Error('two pods')
  const sidestep = ['--no-warnings', CLI, '--node', join(lab.directory, 'node.sock'), '-o', 'json']
  const [source, destination] = [`${near.namespace}/${near.name}`, `${far.namespace}/${far.name}`]
  const service = `${far.serviceAccount}.${far.namespace}`
  return [
    ['a process of Node that does nothing', ['-e', '0']],
    ['the command that asks nobody, `--help`', ['--no-warnings', CLI, '--help']],
    ['`why`, a service by its name', [...sidestep, 'why', source, service]],
    ['`why`, a pod', [...sidestep, 'why', source, `${destination}:8080`]],
    ['`ps POD`', [...sidestep, 'ps', source]],
  ]
}

/** Runs a program to its end; gives the time that took. @throws Error when it answers nothing */
function run(args: readonly string[]): Promise<number> {
  const startedMs = performance.now()
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, (error, stdout, stderr) => {
      // `why` of a pair that is refused ends with 1, and has answered.
      if (error !== null && stdout === '') reject(new Error(`${args.join(' ')}: ${stderr}`))
      else resolve(performance.now() - startedMs)
    })
  })
}

interface Round {
  readonly load: number
  /** Median of each command, and its slowest run. */
  readonly commands: readonly {
    readonly what: string
    readonly medianMs: number
    readonly slowestMs: number
  }[]
}

async function measure(): Promise<Round> {
  const load = loadavg()[0] ?? Number.NaN
  const lab = await NodeLab.open(PODS)
  try {
    lab.addMesh()
    await until('the mesh arrived', async () => {
      const { workloads, version, inForce } = (await lab.workers()).model
      return (workloads >= SIZE.services * SIZE.podsPerService && inForce?.version === version) || null
    })
    const measured: Round['commands'][number][] = []
    for (const [what, args] of commands(lab)) {
      await run(args) // the first one of a file system is another question
      const tookMs: number[] = []
      for (let count = 0; count < RUNS; count++) tookMs.push(await run(args))
      measured.push({ what, medianMs: median(tookMs), slowestMs: Math.max(...tookMs) })
    }
    return { load, commands: measured }
  } finally {
    await lab.close()
  }
}

/** Both kinds of insight at each load, and their sum judged. */
function costRows(costs: readonly InsightCost[][]): string {
  const whats = costs[0]?.map(({ what }) => what) ?? []
  const percents = (figures: readonly number[]): string =>
    figures.map((figure) => `${figure.toFixed(1)} %`).join(' | ')
  return whats
    .flatMap((what, at) => {
      const found = costs.flatMap((round) => round[at] ?? [])
      const sums = found.map(({ recordsPercent, otherPercent }) => recordsPercent + otherPercent)
      const verdict = sums.every((sum) => sum <= COST_GOAL_PERCENT) ? 'reached' : '**missed**'
      return [
        `| ${what}: records | ${percents(found.map(({ recordsPercent }) => recordsPercent))} |  |  |`,
        `| ${what}: all other insight | ${percents(found.map(({ otherPercent }) => otherPercent))} |  |  |`,
        `| ${what}: together | ${percents(sums)} | ≤ ${COST_GOAL_PERCENT} % | ${verdict} |`,
      ]
    })
    .join('\n')
}

function page(rounds: readonly Round[], costs: readonly InsightCost[][], commit: string): string {
  const whats = rounds[0]?.commands.map(({ what }) => what) ?? []
  const rows = whats.map((what, at) => {
    const found = rounds.flatMap(({ commands: all }) => all[at] ?? [])
    const isGoal = what.startsWith('`why`')
    const isReached = found.every(({ medianMs }) => medianMs <= WHY_GOAL_MS)
    const cells = found.map(
      ({ medianMs, slowestMs }) => `${medianMs.toFixed(0)} (${slowestMs.toFixed(0)}) ms`,
    )
    const verdict = isGoal ? [`≤ ${WHY_GOAL_MS} ms`, isReached ? 'reached' : '**missed**'] : ['', '']
    return `| ${[what, ...cells, ...verdict].join(' | ')} |`
  })
  const loads = rounds.map(({ load }) => load.toFixed(1))
  return `<!-- Written by \`npm run bench:insight\`. -->
# Answers about a node

One ztunnel that serves ${PODS} pods and follows a controller which reads ${SIZE.services * SIZE.podsPerService} pods, asked by the command line over its
admin socket. ${cpus().length} cores, shared with the controller: ${cpus()[0]?.model.trim()}, Node ${process.version}, commit ${commit}.

| | ${rounds.map((_, index) => `Round ${index + 1}`).join(' | ')} | Goal | |
|---|${rounds.map(() => '---|').join('')}---|---|
| load of the machine before the round | ${loads.join(' | ')} |  |  |
${rows.join('\n')}

- Median of ${RUNS} runs, in brackets the slowest. Each is a process of its own, from its start to its end: what somebody waits for.
  The first two rows say how much of it is the start of a process.
- **Load**: processes that wanted a core in the minute before. Read times only where it is small.
- In a cluster the way through the apiserver comes on top, and a process in the ztunnel's pod for each question.

## What it costs to know

Share of the work of both nodes' workers that is done for insight while they carry requests: records of connections, from the text to
the file, and events, counters, histograms, edges and spans. The time is that of V8's profiler, a sample each half millisecond; the work
that main does for insight is added to it, main's other work is not in the whole.

| | ${costs.map((_, index) => `Round ${index + 1}`).join(' | ')} | Goal | |
|---|${costs.map(() => '---|').join('')}---|---|
${costRows(costs)}
`
}

const rounds: Round[] = []
for (let round = 0; round < ROUNDS; round++) rounds.push(await measure())
const costs: InsightCost[][] = []
for (let round = 0; round < ROUNDS; round++)
  costs.push(await measureInsightCost(`${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`, SECONDS))
const text = page(rounds, costs, await describeCommit(ROOT))
writeFileSync(join(values.out, 'INSIGHT.md'), text)
console.log(text)
