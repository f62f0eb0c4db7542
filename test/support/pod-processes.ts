// SPDX-License-Identifier: Apache-2.0
// The processes of a pod on a node of the lab, as this machine sees them: to look into its network, to read its files,
// to end one of them, with or without an apiserver.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** A process, by its id on this machine. */
export interface PodProcess {
  readonly pid: number
  /** Program and arguments, parted by spaces. */
  readonly command: string
}

/** All processes of the pod with this uid but the one that holds its namespaces, in the order of their ids. */
export function processesOf(uid: string): readonly PodProcess[] {
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => (textOf(name, 'cgroup').includes(`/pod${uid}/`) ? [Number(name)] : []))
    .map((pid) => ({ pid, command: textOf(`${pid}`, 'cmdline').replaceAll('\0', ' ').trim() }))
  return processes.filter(({ command }) => command !== '' && !command.startsWith('/pause'))
}

/** The one process of the pod whose command line holds `part`. @throws when there is none, or several */
export function processOf(uid: string, part: string): number {
  const found = processesOf(uid).filter(({ command }) => command.includes(part))
  const [only] = found
  if (only === undefined || found.length > 1)
    throw new Error(`${found.length} processes with ${part} in pod ${uid}`)
  return only.pid
}

/** When a process was started, ms since 1970, to a hundredth of a second. SPEC proc_pid_stat(5): the 22nd field */
export function startOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
  const upMs = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000
  return Date.now() - upMs + ticks * 10
}

/** What a shell in the network of a process prints. */
export function inNetworkOf(pid: number, script: string): string {
  const { stdout, stderr, status } = spawnSync('nsenter', ['-t', `${pid}`, '-n', 'sh', '-c', script], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`${script}: ${stderr}`)
  return stdout
}

/** Empty when the process has just ended. */
function textOf(name: string, file: 'cgroup' | 'cmdline'): string {
  try {
    return readFileSync(`/proc/${name}/${file}`, 'latin1')
  } catch {
    return ''
  }
}
