// SPDX-License-Identifier: Apache-2.0
// The only import of pino. Messages are constant lower-case phrases, facts are fields; no secrets, no payload.
// stderr carries the log, stdout carries connection records.
import { destination, type Logger, pino } from 'pino'
import type { LogLevel } from './log-levels.ts'

export type Log = Logger

/** Opens the process's log. One per process; parts get `log.child({ component })`. */
export function openLog(level: LogLevel, base: Readonly<Record<string, string>> = {}): Log {
  return pino({ level, base, timestamp: pino.stdTimeFunctions.isoTime }, destination({ fd: 2, sync: true }))
}
