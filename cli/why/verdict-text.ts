// SPDX-License-Identifier: Apache-2.0
// A verdict as people read it. Pure; every value is made printable by formatFields.
import { printable } from '../printable.ts'
import { formatFields } from '../table.ts'
import type { PairFinding, PairOutcome, PairVerdict } from './pair-facts.ts'

const HEADLINES: Readonly<Record<PairOutcome, string>> = {
  allowed: 'ALLOWED, inside mTLS',
  plain: 'CARRIED IN PLAIN TEXT',
  refused: 'REFUSED',
  failing: 'FAILING',
  unknown: 'UNKNOWN',
}

/** The headline, what decided, and what else is not as it should be. */
export function verdictText(verdict: PairVerdict): string {
  const { outcome, source, destination, cause, risks, silent } = verdict
  const decided = formatFields([
    ...causeFields(cause),
    ['policy', verdict.policy],
    ['why', verdict.reason],
    ['fix', cause?.fix ?? ''],
    ['way', verdict.way],
  ])
  const head = `${printable(source)} -> ${printable(destination)}: ${HEADLINES[outcome]}\n${indent(decided)}`
  const further = risks.map(
    (risk) =>
      `risk\n${indent(formatFields([...causeFields(risk), ['why', risk.detail], ['fix', risk.fix]]))}`,
  )
  const unheard = silent.map((each) => `not asked: ${printable(each)}\n`)
  return [head, ...further, ...unheard].join('')
}

function causeFields(finding: PairFinding | null): (readonly [string, string])[] {
  if (finding === null) return []
  const { code, hop, where } = finding
  return [
    ['code', code],
    ['hop', where === '' ? hop : `${hop}, ${where}`],
  ]
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ')
}
