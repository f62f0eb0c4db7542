// SPDX-License-Identifier: Apache-2.0
// Results as the page people read. Pure: the same results give the same page.
import { type Goal, type JudgedGoal, judgeGoals } from './goals.ts'
import { type Summary, summarizeMetric, summarizeRatio } from './measure/statistics.ts'
import { METRICS, type Metric, QUESTION_TEXT } from './questions/metrics.ts'
import {
  QUESTION_NAMES,
  type QuestionName,
  type Results,
  type Row,
  SUBJECT_NAMES,
  type SubjectName,
} from './results.ts'

const NOTHING = '–'
/** What source and sink should reach without a proxy, so that the proxies are what is measured. */
const FAST_ENOUGH_GBIT = 20
/** Above that, other things than the subjects decide the figures. */
export const MAX_BUSY_PERCENT = 10

function number(value: number, digits: number): string {
  if (!Number.isFinite(value)) return NOTHING
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** `median (least–most)`. */
function spread(summary: Summary | null, digits: number): string {
  if (summary === null) return NOTHING
  const middle = number(summary.median, digits)
  if (summary.count === 1) return middle
  return `${middle} (${number(summary.min, digits)}–${number(summary.max, digits)})`
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

/** Text in a cell: one line, no column of its own. */
function cell(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').trim()
}

type Rows = Readonly<Partial<Record<SubjectName, Row>>>

function subjectsOf(rows: Rows): SubjectName[] {
  return SUBJECT_NAMES.filter((name) => rows[name] !== undefined)
}

function groupsOf(metrics: readonly Metric[]): string[] {
  return [...new Set(metrics.map(({ group }) => group))]
}

function figureTable(rows: Rows, metrics: readonly Metric[]): string {
  const body = subjectsOf(rows)
    .filter((name) => (rows[name]?.samples.length ?? 0) > 0)
    .map((name) => [
      name,
      ...metrics.map(({ key, digits }) => spread(summarizeMetric(rows[name], key), digits)),
    ])
  return table(['', ...metrics.map(({ label }) => label)], body)
}

function ratioTable(rows: Rows, metrics: readonly Metric[]): string {
  const peers = subjectsOf(rows).filter(
    (name) =>
      name !== 'sidestep' && rows[name]?.run === rows.sidestep?.run && rows[name]?.samples.length !== 0,
  )
  const body = metrics
    .filter(({ isCompared }) => isCompared)
    .map(({ key, group, label }) => [
      group === '' ? label : `${group}: ${label}`,
      ...peers.map((peer) => spread(summarizeRatio(rows.sidestep, rows[peer], key), 2)),
    ])
    .filter((cells) => cells.slice(1).some((text) => text !== NOTHING))
  if (body.length === 0) return ''
  return table(['Sidestep ÷', ...peers], body)
}

function provenance(name: SubjectName, row: Row): string {
  const disturbance =
    row.busyPercent > MAX_BUSY_PERCENT ? `, **on a machine that was ${row.busyPercent} % busy**` : ''
  const runs = `${row.samples.length} ${row.samples.length === 1 ? 'run' : 'runs'} of ${row.seconds} s`
  const what = `${name}: ${runs}, commit ${row.commit}, ${row.date}${disturbance}`
  return row.failure === '' ? `- ${what}` : `- ${what}; **not measured in full**: ${cell(row.failure)}`
}

/** A tool that is hardly faster than what it measures has to say so. */
function bulkCaution(rows: Rows): string[] {
  const direct = summarizeMetric(rows.direct, 'gbitPerSecond1')?.median ?? Number.POSITIVE_INFINITY
  if (direct >= FAST_ENOUGH_GBIT) return []
  const reached = number(direct, 1)
  return [
    `Source and sink reach only ${reached} Gbit/s here without any proxy: they take a good part of the processors.`,
  ]
}

function questionSection(name: QuestionName, rows: Rows, subjects: Results['subjects']): string {
  const [title, text] = QUESTION_TEXT[name]
  const metrics = METRICS[name]
  const parts = [`## ${title}`, text]
  for (const group of groupsOf(metrics)) {
    if (group !== '') parts.push(`**${group}**`)
    parts.push(
      figureTable(
        rows,
        metrics.filter((metric) => metric.group === group),
      ),
    )
  }
  if (name === 'bulk') parts.push(...bulkCaution(rows))
  const ratios = ratioTable(rows, metrics)
  if (ratios !== '') parts.push('Ours divided by theirs, round by round:', ratios)
  const lines = SUBJECT_NAMES.flatMap((subject) => {
    const row = rows[subject]
    if (row !== undefined) return [provenance(subject, row)]
    const description = subjects[subject]
    return description?.isMissing === true
      ? [`- ${subject}: not measured: ${cell(description.settings)}`]
      : []
  })
  parts.push(lines.join('\n'))
  return parts.join('\n\n')
}

function goalSection(judged: readonly JudgedGoal[]): string {
  const digits = ({ unit }: Goal): number => (unit === '×' || unit === ' ms' ? 2 : 1)
  const rows = judged.map(({ goal, found, verdict }) => [
    goal.label,
    goal.kind,
    `${goal.relation} ${goal.limit}${goal.unit}`,
    found === null ? NOTHING : `${spread(found, digits(goal))}${goal.unit}`,
    verdict === 'miss' ? '**miss**' : verdict === 'open' ? 'not measured together' : verdict,
  ])
  return ['## Gates and goals', table(['', 'kind', 'wanted', 'found', 'verdict'], rows)].join('\n\n')
}

/** The page. */
export function renderReport(results: Results): string {
  const { machine, tools, subjects } = results
  const described = SUBJECT_NAMES.flatMap((name) => {
    const subject = subjects[name]
    return subject === undefined ? [] : [[name, cell(subject.version), cell(subject.settings)]]
  })
  const sections = QUESTION_NAMES.flatMap((name) => {
    const rows = results.questions[name]
    return rows === undefined ? [] : [questionSection(name, rows, subjects)]
  })
  return `${[
    '# Results of the benches',
    'Written by `npm run bench`; do not edit. What each question means is in [README.md](README.md). Figures are ' +
      'medians with the least and the most in brackets. Runs of the subjects alternate; ratios are taken between ' +
      'runs of the same round. CPU is user and system time of all processes of a subject, both nodes, all threads.',
    `Machine: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Linux ${machine.kernel}, Node ` +
      `${machine.node}; client, server and proxies share it. Tools: ${tools}.`,
    table(['subject', 'version', 'settings'], described).replaceAll('---:', '---'),
    goalSection(judgeGoals(results)),
    ...sections,
  ].join('\n\n')}\n`
}
