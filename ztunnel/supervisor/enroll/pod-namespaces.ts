// SPDX-License-Identifier: Apache-2.0
// Finds the network namespaces of pods that run already: by the control groups of the processes of the node. One look serves
// all pods that are sought. It reads what processes of pods have a say in: bounded, and believed only as far as it must be.
import { closeSync, fstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOfOpen } from '../../../mesh/errors/errno.ts'
import { podOfCgroups } from './pod-cgroup.ts'

/** Processes looked at in one look; no node has more. */
const MAX_PROCESSES = 131_072
/** Of a file about one process; a path of control groups is at most 4 KiB for each hierarchy. */
const MAX_PROCESS_FILE_BYTES = 65_536
/** Processes looked at before others get their turn. */
const PROCESSES_PER_TURN = 128
/** Field of /proc/PID/stat after the name of the program. SPEC proc_pid_stat(5) */
const START_TIME_FIELD = 19

/** One for all: a look reads a file of every process. */
const scratch = Buffer.allocUnsafe(MAX_PROCESS_FILE_BYTES)

/** Identity of a namespace. */
interface NamespaceId {
  readonly device: number
  readonly inode: number
}

/** A process that may show the namespace of a pod. */
interface Candidate {
  readonly pid: string
  /** Ticks since the node has started. */
  readonly startedTicks: number
}

/** What one look has shown. */
export interface FoundNamespaces {
  /** Descriptors of the caller, by uid. */
  readonly found: ReadonlyMap<string, number>
  /** Pods whose processes are there and keep their namespace from us. */
  readonly denied: ReadonlySet<string>
}

/** Opens the network namespaces of the pods `uids`. A pod without a process in a namespace of its own is not found. */
export async function findPodNamespaces(
  uids: ReadonlySet<string>,
  procPath: string,
): Promise<FoundNamespaces> {
  const hosts = hostNamespaces(procPath)
  const oldest = new Map<string, Candidate>()
  const denied = new Set<string>()
  let count = 0
  for (const pid of processes(procPath)) {
    if (++count % PROCESSES_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    const uid = podOf(procPath, pid)
    if (uid === null || !uids.has(uid)) continue
    const [id] = idOf(join(procPath, pid, 'ns', 'net'), () => denied.add(uid))
    if (id === undefined || hosts.some((host) => isSame(host, id))) continue
    // A pod may make namespaces of its own, but its first process was there before.
    const startedTicks = startOf(procPath, pid)
    const before = oldest.get(uid)
    if (before === undefined || startedTicks < before.startedTicks) oldest.set(uid, { pid, startedTicks })
  }
  const found = new Map<string, number>()
  for (const [uid, { pid }] of oldest) {
    const fd = openNamespace(procPath, pid, uid, hosts)
    if (fd !== null) found.set(uid, fd)
  }
  for (const uid of found.keys()) denied.delete(uid)
  return { found, denied }
}

/** True for a descriptor of the node's own namespace, or of ours. */
export function isHostNamespace(fd: number, procPath: string): boolean {
  const { dev: device, ino: inode } = fstatSync(fd)
  return hostNamespaces(procPath).some((host) => isSame(host, { device, inode }))
}

function hostNamespaces(procPath: string): readonly NamespaceId[] {
  return [join(procPath, '1', 'ns', 'net'), '/proc/thread-self/ns/net'].flatMap((path) => idOf(path))
}

/** The process may have ended since, and its number may be another's: what is opened is looked at again. */
function openNamespace(
  procPath: string,
  pid: string,
  uid: string,
  hosts: readonly NamespaceId[],
): number | null {
  let fd: number
  try {
    fd = openSync(join(procPath, pid, 'ns', 'net'), 'r')
  } catch {
    return null
  }
  const { dev: device, ino: inode } = fstatSync(fd)
  if (podOf(procPath, pid) === uid && !hosts.some((host) => isSame(host, { device, inode }))) return fd
  closeSync(fd)
  return null
}

function processes(procPath: string): string[] {
  return readdirSync(procPath)
    .filter((name) => /^[1-9]\d{0,9}$/.test(name))
    .slice(0, MAX_PROCESSES)
}

function podOf(procPath: string, pid: string): string | null {
  return podOfCgroups(readWhole(join(procPath, pid, 'cgroup')))
}

/** When the process was started; of one that does not say, after all others. */
function startOf(procPath: string, pid: string): number {
  const text = readWhole(join(procPath, pid, 'stat'))
  // The name stands in parentheses and may contain any of them.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[START_TIME_FIELD])
  return text === '' || !Number.isSafeInteger(ticks) ? Number.MAX_SAFE_INTEGER : ticks
}

/** Empty when the process is gone, and when it is longer than it could be. */
function readWhole(path: string): string {
  try {
    const fd = openSync(path, 'r')
    try {
      let length = 0
      // A file of /proc comes in parts.
      for (let read = -1; read !== 0; length += read) {
        if (length === scratch.length) return ''
        read = readSync(fd, scratch, length, scratch.length - length, null)
      }
      return scratch.toString('latin1', 0, length)
    } finally {
      closeSync(fd)
    }
  } catch {
    return ''
  }
}

/** None of a process that is gone, or that denies it. */
function idOf(path: string, onDenied: () => void = () => {}): NamespaceId[] {
  try {
    const { dev: device, ino: inode } = statSync(path)
    return [{ device, inode }]
  } catch (error) {
    // SPEC namespaces(7), ptrace(2): who may not trace a process may not see its namespaces.
    if (reasonOfOpen(error) === 'MISSING_CAPABILITY') onDenied()
    return []
  }
}

function isSame(left: NamespaceId, right: NamespaceId): boolean {
  return left.device === right.device && left.inode === right.inode
}
