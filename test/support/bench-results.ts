// SPDX-License-Identifier: Apache-2.0
// Results of benches for the tests of bench/.
import type { Figures, Results, Row } from '../../bench/results.ts'

/** A row of a run whose samples are given in the order of their rounds. */
export function row(run: string, figures: readonly Figures[], failure = ''): Row {
  return {
    run,
    date: '2026-01-02',
    commit: 'abc1234567',
    seconds: 4,
    busyPercent: 1,
    samples: figures.map((each, round) => ({ round, figures: each })),
    failure,
  }
}

/** Results of a machine with the given questions. */
export function results(questions: Results['questions'], cpu = 'Model 1'): Results {
  return {
    machine: { cpu, cores: 2, memoryGb: 8, kernel: '6.1.0', node: 'v24.0.0' },
    tools: 'wrk 4, nginx 1',
    subjects: { sidestep: { version: 'abc1234567', settings: 'as it is', isMissing: false } },
    questions,
  }
}
