// SPDX-License-Identifier: Apache-2.0
// How long do the few requests of one pod take while another pod of the same node moves data? At a rate that leaves the
// processors idle time: what rises then is what one has to wait for in the proxy, and not for the machine.
import type { BulkSourceOptions, BulkSourceResult } from '../load/bulk-source.ts'
import { USUAL_PLACE } from '../place.ts'
import type { Figures } from '../results.ts'
import type { RunningSubject } from '../subjects/subject.ts'
import { runOpenLoop } from './latency.ts'
import { programTimeoutMs, type Question, type Timing } from './question.ts'

/** Of the pod that is looked at. */
export const REQUESTS_PER_SECOND = 1000
/** Of its neighbour: 1 Gbit/s on four connections. */
export const BULK_BYTES_PER_SECOND = 125_000_000
const BULK_STREAMS = 4
/** The neighbour is at work before the first request and after the last. */
const BULK_MARGIN_SECONDS = 1

/** The neighbour's bulk, around a measurement of `timing`. @throws Error when it is cut off */
export async function runNeighbour({ lab }: RunningSubject, timing: Timing): Promise<BulkSourceResult> {
  const options: BulkSourceOptions = {
    target: lab.listener,
    streams: BULK_STREAMS,
    seconds: timing.warmUpSeconds + timing.seconds + BULK_MARGIN_SECONDS,
    bytesPerSecond: BULK_BYTES_PER_SECOND,
  }
  const timeoutMs = programTimeoutMs(timing)
  const result = await lab.processes.measure<BulkSourceResult>(
    lab.talker.namespace,
    'bulk-source',
    options,
    timeoutMs,
  )
  if (result.failure !== '') throw new Error(result.failure)
  return result
}

async function measure(subject: RunningSubject, timing: Timing): Promise<Figures> {
  const alone = await runOpenLoop(subject, timing, REQUESTS_PER_SECOND)
  const [beside, { bytes, seconds }] = await Promise.all([
    runOpenLoop(subject, timing, REQUESTS_PER_SECOND),
    runNeighbour(subject, timing),
  ])
  return {
    p50MicrosAlone: alone.p50Micros,
    p99MicrosAlone: alone.p99Micros,
    p50MicrosBeside: beside.p50Micros,
    p99MicrosBeside: beside.p99Micros,
    neighbourGbitPerSecond: (bytes * 8) / seconds / 1e9,
  }
}

export const neighbourQuestion: Question = {
  name: 'neighbour',
  subjects: ['direct', 'sidestep', 'ztunnel'],
  isFresh: true,
  parts: [{ place: { ...USUAL_PLACE, hasNeighbour: true }, measure }],
  prepare: () => Promise.resolve(),
}
