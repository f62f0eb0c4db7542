// SPDX-License-Identifier: Apache-2.0
// Reactor workers that churn connections, and what must hold when they are done.
import { readdirSync } from 'node:fs'
import { HANDLE_KINDS } from '../../mesh/reactor/ffi/handle-counts.ts'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { createWakeFd, ReactorWorker, type WorkerExit } from '../../mesh/reactor/worker.ts'
import type { ChurnCommand, ChurnReport } from '../fixtures/churn-thread.ts'
import { TestAuthority } from './certificates.ts'
import type { ChurnTotals } from './connection-churn.ts'

/** Descriptors of this process now. */
export const openDescriptors = (): number => readdirSync('/proc/self/fd').length

/** A set of workers. */
export class ChurnWorkers {
  readonly #workers: ReactorWorker<ChurnCommand, ChurnReport>[] = []
  readonly #onReport: Array<((report: ChurnReport) => void) | null> = []
  readonly #exits: Array<Promise<WorkerExit>> = []

  private constructor() {}

  /** Starts `count` workers; `tlsEvery`: one of so many connections is TLS. */
  static async start(count: number, concurrency: number, tlsEvery: number): Promise<ChurnWorkers> {
    const authority = await TestAuthority.create()
    const identity = { trustDomain: 'cluster.local', namespace: 'soak', serviceAccount: 'churn' }
    const certificate = await authority.sign(identity)
    const workers = new ChurnWorkers()
    for (let index = 0; index < count; index++) {
      const setup = {
        ...certificate,
        rootPem: authority.rootPem,
        sourceNet: 11 + index,
        concurrency,
        tlsEvery,
      }
      workers.#add(index, setup)
    }
    return workers
  }

  #add(index: number, setup: unknown): void {
    const exited = Promise.withResolvers<WorkerExit>()
    this.#exits.push(exited.promise)
    this.#onReport.push(null)
    this.#workers.push(
      new ReactorWorker(new URL('../fixtures/churn-thread.ts', import.meta.url), {
        name: `churn-${index}`,
        data: setup,
        wakeFd: createWakeFd(),
        onMessage: (report: ChurnReport) => this.#onReport[index]?.(report),
        onExit: exited.resolve,
      }),
    )
  }

  /** Opens and ends `connections`, shared among the workers. Resolves with how they ended. */
  async run(connections: number): Promise<ChurnTotals> {
    const share = Math.ceil(connections / this.#workers.length)
    const reports = await Promise.all(this.#ask({ type: 'run', connections: share }))
    const totals: ChurnTotals = {}
    for (const report of reports) {
      for (const [outcome, count] of Object.entries(report)) totals[outcome] = (totals[outcome] ?? 0) + count
    }
    return totals
  }

  /** Every worker loses one SSL and one descriptor. */
  async leak(): Promise<void> {
    await Promise.all(this.#ask({ type: 'leak' }))
  }

  /** Ends the workers; says what is left of them: nothing, when they freed all they created. */
  async stop(): Promise<readonly string[]> {
    const left: string[] = []
    for (const [index, worker] of this.#workers.entries()) {
      worker.post({ type: 'stop' })
      await worker.stop()
      const exit = await this.#exits[index]
      if (exit?.error) left.push(`${worker.name} failed: ${exit.error.message}`)
      if (exit?.closedDescriptors !== 0) left.push(`${exit?.closedDescriptors} descriptors`)
      const handles = worker.handles
      for (const kind of HANDLE_KINDS) {
        const { created, freed } = handles[kind]
        if (created !== freed) left.push(`${kind}: ${created} created, ${freed} freed`)
        if (created === 0) left.push(`${kind}: none was ever created`)
      }
      close(worker.wakeFd)
    }
    return left
  }

  #ask(command: ChurnCommand): Promise<ChurnReport>[] {
    return this.#workers.map(
      (worker, index) =>
        new Promise((resolve) => {
          this.#onReport[index] = resolve
          worker.post(command)
        }),
    )
  }
}

/** What a run of `connections` must say: every ending happened as often as it should, as it should. */
export function unexpectedEndings(totals: ChurnTotals, connections: number): readonly string[] {
  const expected = new Set([
    'client-ends OK',
    'server-ends OK',
    'client-resets SHUTDOWN',
    'server-resets PEER_RESET',
    'server-resets TUNNEL_RESET',
    'client-leaves-at-once SHUTDOWN',
    'nobody-listens ENDPOINT_REFUSED',
  ])
  const problems = Object.entries(totals)
    .filter(([outcome]) => !expected.has(outcome))
    .map(([outcome, count]) => `${outcome}: ${count}`)
  for (const outcome of expected) if ((totals[outcome] ?? 0) === 0) problems.push(`${outcome}: never`)
  const sum = Object.values(totals).reduce((all, count) => all + count, 0)
  if (sum < connections) problems.push(`${sum} of ${connections} connections ended`)
  return problems
}
