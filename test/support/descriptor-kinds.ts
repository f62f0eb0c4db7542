// SPDX-License-Identifier: Apache-2.0
// What the descriptors of a lab's processes are, so that those before and after a load can be compared one by one.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { MeshLab } from './mesh-lab.ts'

/** The kernel's tables of sockets, and the column of the inode in each. */
const TABLES = { tcp: 9, tcp6: 9, udp: 9, udp6: 9, raw: 9, raw6: 9, unix: 6, netlink: 9, packet: 8 } as const
/**
 * Sockets without an address are in no table of the kernel's. Dialers keep some ready, eight for each pod in a worker; how many
 * of them are left when the load ends is chance.
 */
const SPARE = 'socket without an address'
const MAX_SPARES = 2 * 2 * 8

/** Counts by process, then by kind: `tcp socket`, `anon_inode:[eventpoll]`, the path of a file. */
export type DescriptorKinds = ReadonlyMap<number, ReadonlyMap<string, number>>

/** All descriptors that these processes have now. */
export function readDescriptors(lab: MeshLab, pids: readonly number[]): DescriptorKinds {
  const tables = socketTables(lab)
  return new Map(pids.map((pid) => [pid, kindsOf(pid, tables)]))
}

/** What is different; nothing when all are back, but for sockets that are kept ready. */
export function compareDescriptors(before: DescriptorKinds, after: DescriptorKinds): readonly string[] {
  const changes: string[] = []
  for (const [pid, kinds] of after) {
    const known = before.get(pid)
    for (const kind of new Set([...kinds.keys(), ...(known?.keys() ?? [])])) {
      const [now, then] = [kinds.get(kind) ?? 0, known?.get(kind) ?? 0]
      const isAsBefore = kind === SPARE ? now <= MAX_SPARES : now === then
      if (!isAsBefore) changes.push(`${pid} ${kind}: ${now}, ${then} before`)
    }
  }
  return changes
}

function kindsOf(pid: number, tables: ReadonlyMap<string, string>): ReadonlyMap<string, number> {
  const kinds = new Map<string, number>()
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const kind = kindOf(pid, fd, tables)
    if (kind !== null) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  return kinds
}

/** null: it was closed while we looked. */
function kindOf(pid: number, fd: string, tables: ReadonlyMap<string, string>): string | null {
  try {
    const target = readlinkSync(`/proc/${pid}/fd/${fd}`)
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
    if (inode !== undefined) return tables.get(inode) ?? SPARE
    return target.replace(/:\[\d+\]$/, '')
  } catch {
    return null
  }
}

/** Inode → table, of every namespace of the lab. */
function socketTables(lab: MeshLab): ReadonlyMap<string, string> {
  const tables = new Map<string, string>()
  const namespaces = [
    ...(['front', 'batch', 'stranger', 'cart'] as const).map((pod) => lab.namespaceOf(pod)),
    ...(['n1', 'n2'] as const).map((node) => lab.network.node(node).namespace),
  ]
  for (const namespace of namespaces)
    namespace.run(() => {
      for (const [table, column] of Object.entries(TABLES))
        for (const line of readFileSync(`/proc/thread-self/net/${table}`, 'latin1').split('\n').slice(1)) {
          const inode = line.trim().split(/\s+/)[column]
          if (inode !== undefined) tables.set(inode, `${table} socket`)
        }
    })
  return tables
}
