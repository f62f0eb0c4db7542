// SPDX-License-Identifier: Apache-2.0
// CPU time and resident memory of processes, from /proc. A process counts with all its threads, also those that
// have ended; the kernel's own threads and interrupts count for nobody.
import { readFileSync } from 'node:fs'

/** Clock ticks per second of /proc/PID/stat: USER_HZ is 100 on every architecture Node runs on. */
const TICKS_PER_SECOND = 100
const HBONE_PORT_HEX = '3AA0'
const ESTABLISHED = '01'

/** User and system seconds of a /proc/PID/stat line. The name in brackets may hold spaces and brackets. */
export function parseCpuSeconds(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** Resident KB (1024 bytes) of a /proc/PID/status text. */
export function parseResidentKb(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN)
}

/** Proportional KB (1024 bytes) of a /proc/PID/smaps_rollup text: pages that processes share are shared out. */
export function parseProportionalKb(rollup: string): number {
  return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? Number.NaN)
}

/** CPU seconds of processes so far, all threads. @throws Error when one has ended */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + parseCpuSeconds(readFileSync(`/proc/${pid}/stat`, 'latin1')), 0)
}

/** Resident KB of processes together. @throws Error when one has ended */
export function residentKb(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + parseResidentKb(readFileSync(`/proc/${pid}/status`, 'latin1')), 0)
}

/** Proportional KB of processes together. @throws Error when one has ended */
export function proportionalKb(pids: readonly number[]): number {
  return pids.reduce(
    (sum, pid) => sum + parseProportionalKb(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')),
    0,
  )
}

/** Children of a process. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number)
}

/** Established connections to port 15008 in a /proc/net/tcp or tcp6 text: tunnels, seen from their source. */
export function countTunnels(table: string): number {
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => remote?.endsWith(`:${HBONE_PORT_HEX}`) && state === ESTABLISHED).length
}
