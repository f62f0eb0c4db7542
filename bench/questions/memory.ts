// SPDX-License-Identifier: Apache-2.0
// What does a process keep for a connection that does nothing, for a tunnel that carries nothing, and for itself?
// Always just started: memory that an earlier run gave back to the heap would hide the growth.
import { setTimeout as wait } from 'node:timers/promises'
import type { HoldOptions } from '../load/hold.ts'
import { residentKb } from '../measure/process-usage.ts'
import { USUAL_PLACE } from '../place.ts'
import type { Figures } from '../results.ts'
import type { RunningSubject } from '../subjects/subject.ts'
import { PROGRAM_SLACK_MS, type Question, type QuestionPart } from './question.ts'

const STREAMS = 5000
/** The kernel keeps 1,024 neighbours for all namespaces together (gc_thresh3): every address is one of them. */
const TUNNELS = 800
/** Settled: this many readings in a row that differ by less than this share. */
const SETTLED_READINGS = 4
const SETTLED_SHARE = 0.003
const READING_INTERVAL_MS = 500
/** Nobody is read earlier: a process may wait until it is idle before it gives memory back. */
const SETTLE_LEAST_MS = 16_000
const SETTLE_TIMEOUT_MS = 30_000
const HOLD_TIMEOUT_MS = 60_000

interface Resident {
  readonly source: number
  readonly destination: number
}

function read(subject: RunningSubject): Resident {
  const { source, destination } = subject.dataPids()
  return { source: residentKb(source), destination: residentKb(destination) }
}

/** The memory once it no longer moves, or after a while. */
async function settled(subject: RunningSubject): Promise<Resident> {
  const endMs = performance.now() + SETTLE_TIMEOUT_MS
  await wait(SETTLE_LEAST_MS)
  let last = read(subject)
  for (let equal = 0; equal < SETTLED_READINGS && performance.now() < endMs; ) {
    await wait(READING_INTERVAL_MS)
    const now = read(subject)
    const change = Math.abs(now.source - last.source) + Math.abs(now.destination - last.destination)
    equal = change <= (last.source + last.destination) * SETTLED_SHARE ? equal + 1 : 0
    last = now
  }
  return last
}

function growth(name: string, before: Resident, after: Resident, count: number): Figures {
  const source = (after.source - before.source) / count
  const destination = (after.destination - before.destination) / count
  return {
    [`${name}SourceKb`]: source,
    [`${name}DestinationKb`]: destination,
    [`${name}Kb`]: Math.max(source, destination),
  }
}

/** The first request has been answered by now: what is loaded on first use is there. */
const streams: QuestionPart = {
  place: USUAL_PLACE,
  async measure(subject) {
    const { lab } = subject
    const idle = await settled(subject)
    const options: HoldOptions = { targets: [lab.web], perTarget: STREAMS, keeps: true }
    const holder = await lab.processes.hold(lab.client.namespace, 'hold', options, HOLD_TIMEOUT_MS)
    const held = await settled(subject)
    if (holder.exitCode !== null) throw new Error(`held connections were lost: exit code ${holder.exitCode}`)
    const streamTunnels = lab.tunnelCount()
    await lab.processes.stop(holder)
    return {
      idleSourceMb: idle.source / 1024,
      idleDestinationMb: idle.destination / 1024,
      idleMb: Math.max(idle.source, idle.destination) / 1024,
      ...growth('stream', idle, held, STREAMS),
      streamTunnels,
    }
  },
}

const tunnels: QuestionPart = {
  place: { ...USUAL_PLACE, destinationCount: TUNNELS },
  async measure(subject) {
    const { lab } = subject
    const idle = await settled(subject)
    const countBefore = lab.tunnelCount()
    const targets = lab.destinations.map((ip) => ({ ip, port: lab.web.port }))
    const options: HoldOptions = { targets, perTarget: 1, keeps: false }
    await lab.processes.measure(lab.client.namespace, 'hold', options, HOLD_TIMEOUT_MS + PROGRAM_SLACK_MS)
    const after = await settled(subject)
    const count = lab.tunnelCount() - countBefore
    if (count < TUNNELS / 2)
      throw new Error(`only ${count} tunnels stand after ${TUNNELS} addresses were asked`)
    return { ...growth('tunnel', idle, after, count), tunnels: count }
  },
}

export const memoryQuestion: Question = {
  name: 'memory',
  subjects: ['sidestep', 'ztunnel', 'envoy'],
  isFresh: true,
  parts: [streams, tunnels],
  prepare: () => Promise.resolve(),
}
