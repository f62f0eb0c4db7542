// SPDX-License-Identifier: Apache-2.0
// The kernel's connection tables of the node and of its pods: each network namespace has its own, and the limit holds for each.
// Where one is full, new connections are lost without a word to anybody, and a mesh is what people look at first. They are
// looked at now and then, told once, and counted. Decisions are pure.
// SPEC linux Documentation/networking/nf_conntrack-sysctl.rst; /proc/net/stat/nf_conntrack: a line of names, one per CPU.
import { readFileSync } from 'node:fs'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { REASONS } from '../../mesh/errors/reasons.ts'
import type { ConntrackReading, NodeHealth, PodConntrack } from '../../mesh/generations/node-health.ts'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'

/** How often the tables are looked at: one fills within seconds, and stays full for minutes. */
export const CONNTRACK_CHECK_MS = 10_000
/** A table fuller than this share is told: the next burst is lost. */
export const CONNTRACK_FULL_SHARE = 0.95

/** Pods whose tables are told among the metrics: who has more of them in trouble has read enough. */
const MAX_TOLD_PODS = 64
/** Of which each thread sees its own namespace's. SPEC proc_pid_net(5) */
const STATISTICS = '/proc/thread-self/net/stat/nf_conntrack'

/** What is counted where the kernel loses a packet, or another connection, for want of room. */
const LOSSES = ['insert_failed', 'drop', 'early_drop']

/** `full`: as good as; `losing`: something was lost since the look before. */
export type ConntrackAlarm = 'none' | 'full' | 'losing'

/** Reads the kernel's texts; null when they are none of a connection table. */
export function parseConntrack(count: string, max: string, statistics: string): ConntrackReading | null {
  const [entryCount, maxEntries] = [count, max].map((text) =>
    /^\d+\n?$/.test(text) ? Number(text) : Number.NaN,
  )
  if (entryCount === undefined || maxEntries === undefined || Number.isNaN(entryCount + maxEntries))
    return null
  const [names = [], ...rows] = statistics
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.trim().split(/\s+/))
  const columns = LOSSES.map((name) => names.indexOf(name)).filter((index) => index >= 0)
  const lost = rows.flatMap((row) => columns.map((index) => Number.parseInt(row[index] ?? '', 16)))
  const lostCount = lost.reduce((sum, each) => sum + (Number.isNaN(each) ? 0 : each), 0)
  return { entryCount, maxEntries, lostCount }
}

/** How it stands, by this look and the one before (null: there was none). A loss says more than a number of entries. */
export function conntrackAlarm(now: ConntrackReading, before: ConntrackReading | null): ConntrackAlarm {
  if (before !== null && now.lostCount > before.lostCount) return 'losing'
  return now.maxEntries > 0 && now.entryCount >= now.maxEntries * CONNTRACK_FULL_SHARE ? 'full' : 'none'
}

/** Of the namespace that the thread is in. Null: the kernel has no such table, or does not show it. */
export function readConntrack(): ConntrackReading | null {
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'latin1')
    } catch {
      return ''
    }
  }
  const [count = '', max = ''] = ['count', 'max'].map((name) =>
    read(`/proc/sys/net/netfilter/nf_conntrack_${name}`),
  )
  return parseConntrack(count, max, read(STATISTICS))
}

/** A table, of the node or of a pod. */
export interface WatchedTable {
  /** Of the pod; '' for the node's. */
  readonly uid: string
  readonly namespace: string
  readonly pod: string
  /** Null when it cannot be read now. */
  read(): ConntrackReading | null
}

/** The table of the network namespace at `path`: opened anew each time, since what stands there may be another one. */
export function nodeTable(path: string): WatchedTable {
  return {
    ...{ uid: '', namespace: '', pod: '' },
    read: () => {
      const namespace = NetworkNamespace.open(path)
      try {
        return namespace.run(readConntrack)
      } finally {
        namespace.close()
      }
    },
  }
}

/** What a watch is made of. */
export interface ConntrackWatchOptions {
  /** All there are now. */
  readonly tables: () => readonly WatchedTable[]
  readonly clock: Clock
  readonly log: Log
  /** health() is another one. */
  readonly onLook: () => void
}

interface Look {
  readonly table: WatchedTable
  readonly reading: ConntrackReading | null
  readonly alarm: ConntrackAlarm
}

/** idle → watching → closed. */
export class ConntrackWatch {
  readonly #options: ConntrackWatchOptions
  #timer: ClockTimer | null = null
  #isClosed = false
  /** The last look, by uid. */
  #looks: ReadonlyMap<string, Look> = new Map()

  constructor(options: ConntrackWatchOptions) {
    this.#options = options
  }

  /** Looks now, and from now on. */
  start(): void {
    void this.#lookAtAll().finally(() => {
      if (!this.#isClosed)
        this.#timer = this.#options.clock.startTimer(CONNTRACK_CHECK_MS, () => this.start())
    })
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  /** The node's table, and those of pods that are full, or have ever lost something: the fullest of them. */
  health(): Pick<NodeHealth, 'conntrack' | 'podConntrack'> {
    const looks = [...this.#looks.values()]
    const pods = looks.flatMap(({ table: { uid, namespace, pod }, reading, alarm }): PodConntrack[] => {
      if (uid === '' || reading === null || (alarm === 'none' && reading.lostCount === 0)) return []
      return [{ namespace, pod, ...reading }]
    })
    return {
      conntrack: this.#looks.get('')?.reading ?? null,
      podConntrack: pods.toSorted((a, b) => b.entryCount - a.entryCount).slice(0, MAX_TOLD_PODS),
    }
  }

  async #lookAtAll(): Promise<void> {
    const looks = new Map<string, Look>()
    for (const table of this.#options.tables()) {
      // Others get their turn between two tables.
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#isClosed) return
      looks.set(table.uid, this.#lookAt(table))
    }
    this.#looks = looks
    this.#options.onLook()
  }

  #lookAt(table: WatchedTable): Look {
    const { log } = this.#options
    const before = this.#looks.get(table.uid)
    const reading = tryRead(table)
    const alarm = reading === null ? 'none' : conntrackAlarm(reading, before?.reading ?? null)
    if (alarm !== (before?.alarm ?? 'none')) {
      const { uid, namespace, pod } = table
      const facts = { ...(uid === '' ? {} : { uid, namespace, pod }), ...reading }
      if (alarm === 'none') log.info(facts, 'the connection table of the kernel has room again')
      else {
        const { fix } = REASONS.CONNTRACK_FULL
        const lost = (reading?.lostCount ?? 0) - (before?.reading?.lostCount ?? 0)
        log.error(
          { reason: 'CONNTRACK_FULL', ...facts, lost, fix },
          'the connection table of the kernel is full',
        )
      }
    }
    return { table, reading, alarm }
  }
}

function tryRead(table: WatchedTable): ConntrackReading | null {
  try {
    return table.read()
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    return null // gone since, or not ours to see: enrolment says so
  }
}
