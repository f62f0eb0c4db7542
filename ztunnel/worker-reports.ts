// SPDX-License-Identifier: Apache-2.0
// Questions to all workers at once: who does not answer in time is left out.
import type { DownMessage, ReportKind, WorkerReports } from './worker-messages.ts'

/** How long answers of the workers are waited for. */
export const REPORT_DEADLINE_MS = 1000

/** One worker's answer. */
export interface WorkerAnswer<Kind extends ReportKind> {
  readonly worker: number
  readonly answer: WorkerReports[Kind]
}

interface Question {
  readonly answers: WorkerAnswer<ReportKind>[]
  missing: number
  readonly finish: () => void
}

/** Whom to ask. */
export interface ReportingWorkers {
  readonly count: number
  broadcast(message: DownMessage): void
}

/** Open questions. */
export class WorkerQuestions {
  readonly #workers: ReportingWorkers
  readonly #open = new Map<number, Question>()
  #nextNumber = 1

  constructor(workers: ReportingWorkers) {
    this.#workers = workers
  }

  /** The answers that come in time, in the order in which they come. */
  ask<Kind extends ReportKind>(what: Kind): Promise<readonly WorkerAnswer<Kind>[]> {
    const request = this.#nextNumber++
    return new Promise((resolve) => {
      const answers: WorkerAnswer<ReportKind>[] = []
      const finish = (): void => {
        clearTimeout(deadline)
        this.#open.delete(request)
        resolve(answers as WorkerAnswer<Kind>[]) // as: a worker answers what it was asked
      }
      const deadline = setTimeout(finish, REPORT_DEADLINE_MS)
      this.#open.set(request, { answers, missing: this.#workers.count, finish })
      this.#workers.broadcast({ type: 'report', what, request })
    })
  }

  /** A worker has answered. */
  onAnswer(worker: number, request: number, answer: WorkerReports[ReportKind]): void {
    const question = this.#open.get(request)
    if (question === undefined) return
    question.answers.push({ worker, answer })
    if (--question.missing === 0) question.finish()
  }
}
