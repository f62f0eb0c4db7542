// SPDX-License-Identifier: Apache-2.0
// How much data goes through, what does a gigabyte cost, and do streams of one tunnel share fairly?
import type { BulkSourceOptions, BulkSourceResult } from '../load/bulk-source.ts'
import { cpuSeconds } from '../measure/process-usage.ts'
import { type Place, USUAL_PLACE } from '../place.ts'
import { type Figures, SUBJECT_NAMES } from '../results.ts'
import type { RunningSubject } from '../subjects/subject.ts'
import { programTimeoutMs, type Question, type QuestionPart, type Timing } from './question.ts'

const GB = 1e9

async function run(
  subject: RunningSubject,
  streams: number,
  seconds: number,
  timeoutMs: number,
): Promise<BulkSourceResult> {
  const { lab } = subject
  const options: BulkSourceOptions = { target: lab.bulk, streams, seconds, bytesPerSecond: 0 }
  const { namespace } = lab.client
  const result = await lab.processes.measure<BulkSourceResult>(namespace, 'bulk-source', options, timeoutMs)
  if (result.failure !== '') throw new Error(result.failure)
  return result
}

/** Some streams at once, as fast as they go. */
export function bulkPart(streams: number, place: Place): QuestionPart {
  return {
    place,
    async measure(subject: RunningSubject, timing: Timing): Promise<Figures> {
      const timeoutMs = programTimeoutMs(timing)
      await run(subject, streams, timing.warmUpSeconds, timeoutMs)
      const source = subject.sourcePids()
      const destination = subject.destinationPids()
      const before = [cpuSeconds(source), cpuSeconds(destination)] as const
      const { bytes, seconds, leastShare } = await run(subject, streams, timing.seconds, timeoutMs)
      const sourceCpu = ((cpuSeconds(source) - before[0]) * GB) / bytes
      const destinationCpu = ((cpuSeconds(destination) - before[1]) * GB) / bytes
      return {
        [`gbitPerSecond${streams}`]: (bytes * 8) / seconds / 1e9,
        [`cpuSecondsPerGb${streams}`]: sourceCpu + destinationCpu,
        [`sourceCpuSecondsPerGb${streams}`]: sourceCpu,
        [`destinationCpuSecondsPerGb${streams}`]: destinationCpu,
        [`leastShare${streams}`]: leastShare,
      }
    },
  }
}

export const bulkQuestion: Question = {
  name: 'bulk',
  subjects: SUBJECT_NAMES,
  isFresh: false,
  parts: [bulkPart(1, USUAL_PLACE), bulkPart(8, USUAL_PLACE)],
  prepare: () => Promise.resolve(),
}
