// SPDX-License-Identifier: Apache-2.0
// The kernel's connection table of the node: where it is full, new connections are lost without a word to anybody, and a
// mesh is what people look at first. It is looked at now and then, told once, and counted. Decisions are pure.
// SPEC linux Documentation/networking/nf_conntrack-sysctl.rst; /proc/net/stat/nf_conntrack: a line of names, one per CPU.
import { readFile } from 'node:fs/promises'
import { REASONS } from '../mesh/errors/reasons.ts'
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'

/** How often the table is looked at: it fills within seconds, and stays full for minutes. */
export const CONNTRACK_CHECK_MS = 10_000
/** A table fuller than this share is told: the next burst is lost. */
export const CONNTRACK_FULL_SHARE = 0.95

/** What is counted where the kernel loses a packet, or another connection, for want of room. */
const LOSSES = ['insert_failed', 'drop', 'early_drop']

/** The table at one moment. */
export interface ConntrackReading {
  readonly entryCount: number
  /** 0: no limit. */
  readonly maxEntries: number
  /** Since the kernel counts, over all CPUs; wraps at 32 bits each. */
  readonly lostCount: number
}

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

/** Of the namespace this process is in. Null: the kernel has no such table, or does not show it. */
export async function readConntrack(): Promise<ConntrackReading | null> {
  const paths = ['/proc/sys/net/netfilter/nf_conntrack_count', '/proc/sys/net/netfilter/nf_conntrack_max']
  const read = (path: string): Promise<string> => readFile(path, 'latin1').catch(() => '')
  const [count = '', max = '', statistics = ''] = await Promise.all(
    [...paths, '/proc/net/stat/nf_conntrack'].map(read),
  )
  return parseConntrack(count, max, statistics)
}

/** What a watch is made of. */
export interface ConntrackWatchOptions {
  readonly read: () => Promise<ConntrackReading | null>
  readonly clock: Clock
  readonly log: Log
}

/** idle → watching → closed. */
export class ConntrackWatch {
  readonly #options: ConntrackWatchOptions
  #timer: ClockTimer | null = null
  #isClosed = false
  /** The last look; null: there is no table. */
  reading: ConntrackReading | null = null
  #alarm: ConntrackAlarm = 'none'

  constructor(options: ConntrackWatchOptions) {
    this.#options = options
  }

  /** Looks now, and from now on. */
  start(): void {
    void this.#look().finally(() => {
      if (!this.#isClosed)
        this.#timer = this.#options.clock.startTimer(CONNTRACK_CHECK_MS, () => this.start())
    })
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  async #look(): Promise<void> {
    const { read, log } = this.#options
    const before = this.reading
    const now = await read().catch(() => null)
    this.reading = now
    const alarm = now === null ? 'none' : conntrackAlarm(now, before)
    if (alarm === this.#alarm) return
    this.#alarm = alarm
    if (alarm === 'none') log.info({ ...now }, 'the connection table of the kernel has room again')
    else {
      const { fix } = REASONS.CONNTRACK_FULL
      const lost = (now?.lostCount ?? 0) - (before?.lostCount ?? 0)
      log.error({ reason: 'CONNTRACK_FULL', ...now, lost, fix }, 'the connection table of the kernel is full')
    }
  }
}
