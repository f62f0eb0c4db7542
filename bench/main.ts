#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// `npm run bench`: the questions of README.md, side by side with the proxies we compare ourselves with; writes
// RESULTS.md and results.json. Exit code 0 = every subject at hand was measured, however fast; 1 = one could not be;
// 2 = wrong arguments or no root.
import { randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { envoyBinary } from '../scripts/envoy.ts'
import { readBenchConfig } from './config.ts'
import { busyPercent, describeCommit, describeMachine, versionOf } from './measure/machine.ts'
import { bulkQuestion } from './questions/bulk.ts'
import { connectionsQuestion } from './questions/connections.ts'
import { latencyQuestion } from './questions/latency.ts'
import { memoryQuestion } from './questions/memory.ts'
import { neighbourQuestion } from './questions/neighbour.ts'
import { passthroughQuestion } from './questions/passthrough.ts'
import type { Question } from './questions/question.ts'
import { requestsQuestion } from './questions/requests.ts'
import { rulesQuestion } from './questions/rules.ts'
import { sameNodeQuestion } from './questions/same-node.ts'
import { renderReport } from './report.ts'
import {
  mergeResults,
  publicReason,
  QUESTION_NAMES,
  type QuestionName,
  type Results,
  type Row,
  SUBJECT_NAMES,
  type SubjectName,
} from './results.ts'
import { Runner, type RunPlan } from './runner.ts'
import { DIRECT } from './subjects/direct.ts'
import { envoy } from './subjects/envoy.ts'
import { SIDESTEP } from './subjects/sidestep.ts'
import type { MissingSubject, Subject } from './subjects/subject.ts'
import { ztunnel } from './subjects/ztunnel.ts'
import { askWaypoint } from './waypoint/ask-waypoint.ts'

interface Flags {
  readonly rounds: number
  readonly seconds: number
  readonly only: readonly QuestionName[]
  readonly subjects: readonly SubjectName[]
  readonly out: string
}

const ROOT = resolve(import.meta.dirname, '..')
/** Longest warm-up; short runs are warmed up as long as they last. */
const MAX_WARM_UP_SECONDS = 2

function positive(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 on')
  return value
}

function listOf<T extends string>(names: readonly T[]): (text: string) => readonly T[] {
  return (text) => {
    const wanted = text.split(',')
    const unknown = wanted.filter((name) => !names.some((known) => known === name))
    if (unknown.length > 0) throw new InvalidArgumentError(`one or more of ${names.join(', ')}`)
    return names.filter((name) => wanted.includes(name))
  }
}

function readFlags(): Flags {
  return new Command('bench')
    .description(
      'Measures Sidestep side by side with no proxy, Envoy, and the ztunnel that ZTUNNEL_BIN names.',
    )
    .option('--rounds <count>', 'runs of every subject, in turn', positive, 5)
    .option('--seconds <count>', 'length of a run', positive, 4)
    .option(
      '--only <questions>',
      `some of ${QUESTION_NAMES.join(',')}`,
      listOf(QUESTION_NAMES),
      QUESTION_NAMES,
    )
    .option('--subjects <names>', `some of ${SUBJECT_NAMES.join(',')}`, listOf(SUBJECT_NAMES), SUBJECT_NAMES)
    .option('--out <file>', 'the page; results.json lies beside it', join(ROOT, 'bench', 'RESULTS.md'))
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse()
    .opts<Flags>()
}

const flags = readFlags()
const config = readBenchConfig()
if (process.geteuid?.() !== 0) {
  process.stderr.write('The benches build network namespaces: run them as root.\n')
  process.exit(2)
}

const say = (text: string): void => void process.stderr.write(`${text}\n`)
const commit = await describeCommit(ROOT)

async function chooseSubjects(): Promise<(Subject | MissingSubject)[]> {
  const makers: Readonly<Record<SubjectName, () => Promise<Subject | MissingSubject>>> = {
    direct: async () => DIRECT,
    sidestep: async () => SIDESTEP,
    ztunnel: () => ztunnel(config.ztunnelBinary, config.path),
    envoy: () => envoy(config.path),
  }
  return await Promise.all(flags.subjects.map((name) => makers[name]()))
}

function chooseQuestions(): Question[] {
  const all = [
    requestsQuestion,
    latencyQuestion(),
    bulkQuestion,
    connectionsQuestion,
    memoryQuestion,
    sameNodeQuestion,
    passthroughQuestion,
    neighbourQuestion,
    rulesQuestion,
  ]
  return all.filter(({ name }) => flags.only.includes(name))
}

async function readKnown(path: string): Promise<Results | null> {
  const text = await readFile(path, 'utf8').catch(() => null)
  return text === null ? null : (JSON.parse(text) as Results) // as: written below
}

async function describeTools(): Promise<string> {
  const wrk = /wrk (\S+)/.exec(await versionOf('wrk', ['-v'], config.path))?.[1]
  const nginx = /nginx\/(\S+)/.exec(await versionOf('nginx', ['-v'], config.path))?.[1]
  if (wrk === undefined || nginx === undefined)
    throw new Error('install wrk and nginx (Debian: wrk, nginx-light)')
  return `wrk ${wrk}, nginx ${nginx}`
}

/** True when every subject at hand was measured in every question. */
async function bench(signal: AbortSignal): Promise<boolean> {
  const chosen = await chooseSubjects()
  const present = chosen.filter((subject) => 'start' in subject)
  const missing = chosen.filter((subject) => 'missing' in subject)
  for (const { name, missing: why } of missing) say(`${name} is left out: ${why}`)
  const fresh = {
    machine: describeMachine(),
    tools: await describeTools(),
    subjects: Object.fromEntries([
      ...present.map(({ name, description }) => [name, description]),
      ...missing.map(({ name, missing: why }) => [
        name,
        { version: 'not at hand', settings: publicReason(why), isMissing: true },
      ]),
    ]),
  }
  const date = new Date().toISOString().slice(0, 10)
  const run = randomUUID()
  const timing = { seconds: flags.seconds, warmUpSeconds: Math.min(flags.seconds, MAX_WARM_UP_SECONDS) }
  const plan: RunPlan = {
    ...{ rounds: flags.rounds, timing, path: config.path, run, date, commit, signal, say },
  }
  const runner = new Runner(present, plan)
  const json = join(dirname(flags.out), 'results.json')
  const end = (): void => void runner.close()
  signal.addEventListener('abort', end)
  let isComplete = true
  // Questions are written as they are answered: an hour's work survives what happens in the next.
  const answered = async (name: QuestionName, rows: Partial<Record<SubjectName, Row>>): Promise<void> => {
    isComplete &&= Object.values(rows).every(({ failure }) => failure === '')
    const results = mergeResults(await readKnown(json), { ...fresh, questions: { [name]: rows } })
    await writeFile(json, `${JSON.stringify(results, null, 1)}\n`)
    await writeFile(flags.out, renderReport(results))
  }
  try {
    for (const question of chooseQuestions()) await answered(question.name, await runner.ask(question))
    const isEnvoyHere = present.some(({ name }) => name === 'envoy')
    if (flags.only.includes('waypoint') && isEnvoyHere) {
      await runner.close() // its subjects would only be in the way
      await answered('waypoint', await askWaypoint(await envoyBinary(), await busyPercent(), plan))
    }
  } finally {
    signal.removeEventListener('abort', end)
    await runner.close()
  }
  return isComplete
}

const stop = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort())
try {
  process.exitCode = (await bench(stop.signal)) ? 0 : 1
} catch (error) {
  say(stop.signal.aborted ? 'stopped' : error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
