// SPDX-License-Identifier: Apache-2.0
// What the demo prints: lines for people, or JSON for machines. Both say the mode.
import { styleText } from 'node:util'
import type { Check, CheckReport } from './checks.ts'
import type { RefusalExplanation } from './explanation.ts'
import { type ModeChoice, NOT_IN_LOOPBACK } from './mode.ts'
import type { DemoPlan } from './plan.ts'
import { CART_VIP } from './plan.ts'
import type { DemoRecord } from './records.ts'
import { explanationText, tableHead, tableRow, toneOf } from './table.ts'

/** Where results go. */
export interface DemoOutput {
  /** Before anything is built. */
  start(choice: ModeChoice, plan: DemoPlan): void
  /** The cluster is up and calls begin (live form); `policyFile` may be edited. */
  ready(policyFile: string): void
  call(what: string, result: string): void
  record(record: DemoRecord, explanation: RefusalExplanation | null): void
  /** Something about the mesh as such (live form). */
  note(text: string): void
  check(check: Check): void
  /** The end of the `--once` form. */
  finish(choice: ModeChoice, report: CheckReport, records: readonly DemoRecord[], seconds: number): void
  failure(choice: ModeChoice, message: string): void
}
type Write = (text: string) => void

const TONES = { encrypted: 'green', plain: 'yellow', refused: 'red' } as const

/** Lines for people. */
export class TextOutput implements DemoOutput {
  readonly #write: Write
  readonly #isColoured: boolean
  /** '' when nobody can edit it. */
  #policyFile = ''

  constructor(write: Write, isColoured: boolean) {
    this.#write = write
    this.#isColoured = isColoured
  }

  start(choice: ModeChoice, plan: DemoPlan): void {
    const through = choice.privilege === 'nothing' ? '' : ` (by ${choice.privilege})`
    this.#line(`mode: ${choice.mode}${through}`)
    for (const missing of choice.missing) this.#line(`  missing: ${missing}`)
    if (choice.mode === 'loopback') for (const lost of NOT_IN_LOOPBACK) this.#line(`  not shown: ${lost}`)
    for (const node of plan.nodes) {
      const pods = plan.pods.filter((pod) => pod.node === node)
      const text = pods.map(
        ({ name, ip, isEnrolled }) => `${name} ${ip}${isEnrolled ? '' : ' (not enrolled)'}`,
      )
      this.#line(`${node}: ztunnel, pods ${text.join(' · ')}`)
    }
    this.#line('control: controller, which reads YAML, signs certificates and tells both nodes')
    this.#line(`service cart: ${CART_VIP}:80. Policy: batch may not call cart.\n`)
  }

  ready(policyFile: string): void {
    this.#policyFile = policyFile
    this.#line(`Change the policy while this runs, in another terminal:\n  ${policyFile}\n`)
    this.#line(`${tableHead()}\n`)
  }

  call(what: string, result: string): void {
    this.#line(this.#paint('dim', `             ${what}: ${result}`))
  }

  record(record: DemoRecord, explanation: RefusalExplanation | null): void {
    this.#line(this.#paint(TONES[toneOf(record)], tableRow(record)))
    if (explanation === null) return
    this.#line(explanationText(explanation))
    if (this.#policyFile !== '') this.#line(`             file    ${this.#policyFile}`)
  }

  note(text: string): void {
    this.#line(this.#paint('red', `             ${text}`))
  }

  check({ name, ok, detail }: Check): void {
    this.#line(`${this.#paint(ok ? 'green' : 'red', ok ? 'ok    ' : 'failed')} ${name}`)
    if (!ok) this.#line(`       ${detail}`)
  }

  finish(_choice: ModeChoice, report: CheckReport, records: readonly DemoRecord[], seconds: number): void {
    this.#line(`\n${tableHead()}\n`)
    for (const record of records) this.record(record, null)
    if (report.explanation !== null)
      this.#line(`\nWhy batch was refused:\n${explanationText(report.explanation)}`)
    const failed = report.checks.filter(({ ok }) => !ok).length
    this.#line(`\n${report.checks.length - failed} ok, ${failed} failed, ${seconds.toFixed(1)} s`)
  }

  failure(_choice: ModeChoice, message: string): void {
    this.#line(`${this.#paint('red', 'failed')} ${message}`)
  }

  #line(text: string): void {
    this.#write(`${text}\n`)
  }

  #paint(format: 'green' | 'yellow' | 'red' | 'dim', text: string): string {
    return this.#isColoured ? styleText(format, text, { validateStream: false }) : text
  }
}

/** JSON: one document with `--once`, else one object per line, each with its `type`. */
export class JsonOutput implements DemoOutput {
  readonly #write: Write
  readonly #isLive: boolean

  constructor(write: Write, isLive: boolean) {
    this.#write = write
    this.#isLive = isLive
  }

  start(choice: ModeChoice, plan: DemoPlan): void {
    this.#event({ type: 'start', ...headOf(choice), pods: plan.pods })
  }

  ready(policyFile: string): void {
    this.#event({ type: 'ready', policyFile })
  }

  call(what: string, result: string): void {
    this.#event({ type: 'call', what, result })
  }

  record(record: DemoRecord, explanation: RefusalExplanation | null): void {
    this.#event({ type: 'record', ...record, ...(explanation === null ? {} : { explanation }) })
  }

  note(text: string): void {
    this.#event({ type: 'note', text })
  }

  check(): void {}

  finish(choice: ModeChoice, report: CheckReport, records: readonly DemoRecord[], seconds: number): void {
    const ok = report.checks.every((check) => check.ok)
    this.#document({ ...headOf(choice), ok, seconds: Number(seconds.toFixed(1)), ...report, records })
  }

  failure(choice: ModeChoice, message: string): void {
    if (this.#isLive) this.#event({ type: 'failure', ok: false, error: message })
    else this.#document({ ...headOf(choice), ok: false, error: message, checks: [] })
  }

  #event(event: object): void {
    if (this.#isLive) this.#write(`${JSON.stringify(event)}\n`)
  }

  #document(document: object): void {
    this.#write(`${JSON.stringify(document, null, 2)}\n`)
  }
}

function headOf({ mode, privilege, missing }: ModeChoice): object {
  return { mode, privilege, missing, notShown: mode === 'loopback' ? NOT_IN_LOOPBACK : [] }
}
