// SPDX-License-Identifier: Apache-2.0
// What a process keeps of networks that are not its own: what a pod that is gone must not leave in it.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** Column of the inode in each table of /proc/PID/net. SPEC proc_pid_net(5) */
const INODE_COLUMNS = { tcp: 9, tcp6: 9, udp: 9, udp6: 9, unix: 6, netlink: 9 } as const

/** Sockets of a network, by inode; `path` is that of its tables. */
export function socketsOf(path: string): ReadonlySet<string> {
  return new Set(
    Object.entries(INODE_COLUMNS).flatMap(([kind, column]) =>
      readFileSync(`${path}/${kind}`, 'latin1')
        .split('\n')
        .map((line) => line.trim().split(/\s+/)[column] ?? ''),
    ),
  )
}

/** Descriptors of networks of others, and of sockets in those, as links of /proc. */
export function foreignDescriptors(pid: number): readonly string[] {
  const ownNetwork = readlinkSync(`/proc/${pid}/ns/net`)
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`)
    } catch {
      return '' // closed meanwhile
    }
  })
  // After them: a socket that was made in between is known.
  const own = socketsOf(`/proc/${pid}/net`)
  return links.filter((link) => {
    const [, kind = '', inode = ''] = /^(net|socket):\[(\d+)\]$/.exec(link) ?? []
    return kind === 'net' ? link !== ownNetwork : kind === 'socket' && !own.has(inode)
  })
}
