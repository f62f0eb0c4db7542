// SPDX-License-Identifier: Apache-2.0
// How much of a thread's work was insight: V8's profile of it, read. Pure.

/** As much as is needed of a profile as `--cpu-prof` writes it. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
    readonly children?: readonly number[]
  }[]
  /** The node that each sample found, and the µs since the sample before. */
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** Milliseconds of one thread. */
export interface WorkTimes {
  /** All work, without waiting. */
  readonly busyMs: number
  /** Of it: records of connections, from the text to the file. */
  readonly recordsMs: number
  /** Of it: events, counters, histograms, edges, spans. */
  readonly otherInsightMs: number
}

type Kind = 'waiting' | 'work' | 'records' | 'insight'

/** Called from these files, whatever it is. */
const RECORDS = /\/mesh\/telemetry\/(connection-record|record-[a-z]+)\.ts$/
const INSIGHT = /\/(mesh\/(telemetry|tracing)|ztunnel\/(events|tracing|edges))\//
/** A reactor waits for its descriptors within its turn: the few steps of the turn itself go with the waiting. */
const WAITING = new Set(['(idle)', 'epoll_wait', 'runTurn'])

export function workTimes({ nodes, samples, timeDeltas }: CpuProfile): WorkTimes {
  const kinds = new Map<number, Kind>()
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])))
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const kindOf = (id: number): Kind => {
    const frame = frames.get(id)
    if (frame !== undefined && WAITING.has(frame.functionName)) return 'waiting'
    let kind: Kind = 'work'
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const { url = '' } = frames.get(at) ?? {}
      if (RECORDS.test(url)) return 'records'
      if (INSIGHT.test(url)) kind = 'insight'
    }
    return kind
  }
  const micros: Record<Kind, number> = { waiting: 0, work: 0, records: 0, insight: 0 }
  for (const [index, id] of samples.entries()) {
    const kind = kinds.get(id) ?? kindOf(id)
    kinds.set(id, kind)
    micros[kind] += timeDeltas[index] ?? 0
  }
  const { work, records, insight } = micros
  return {
    busyMs: (work + records + insight) / 1000,
    recordsMs: records / 1000,
    otherInsightMs: insight / 1000,
  }
}
