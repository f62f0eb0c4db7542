// SPDX-License-Identifier: Apache-2.0
// What a failed test on two nodes leaves for whoever looks into it: logs of all containers, also of those that ended, what
// the ztunnels say, rules, connections and sockets of nodes and pods. Taken from the nodes' files and processes alone, so that it
// is there without an apiserver.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Cluster } from './cluster.ts'
import { ROOT } from './documents.ts'

/** What a data process is asked. */
const PAGES = ['ready', 'config_dump', 'workers', 'connections', 'certificates', 'records', 'metrics']
const ADMIN_SOCKET = 'run/sidestep/admin.sock'
const STATE_DIRECTORY = 'var/lib/sidestep'
/** Of a network namespace. */
const NETWORK =
  'nft list ruleset; ip address; ip rule; ip route show table all; ss -tanp; cat /proc/net/nf_conntrack'

/** Copies everything of the two nodes to tmp/shop-failed; returns where. Never throws for a part that cannot be had. */
export function keepEvidence(cluster: Cluster, nodes: readonly string[], what: string): string {
  const place = join(ROOT, 'tmp', 'shop-failed', `${process.pid}`, what.replaceAll(/[^a-z0-9]+/gi, '-'))
  for (const node of nodes) {
    const directory = join(place, node)
    mkdirSync(directory, { recursive: true })
    tryTo(directory, 'logs', () => cpSync(cluster.logsOf(node), join(directory, 'logs'), { recursive: true }))
    const cgroup = `/${basename(cluster.networkOf(node))}/`
    const pids = readdirSync('/proc').filter(
      (name) => /^\d+$/.test(name) && read(name, 'cgroup').includes(cgroup),
    )
    keepNetworks(directory, pids)
    for (const pid of pids) if (read(pid, 'cmdline').includes('/ztunnel/main.ts')) keepZtunnel(directory, pid)
  }
  return place
}

/** One file per network namespace, named after a program in it. */
function keepNetworks(directory: string, pids: readonly string[]): void {
  const known = new Set<string>()
  for (const pid of pids) {
    tryTo(directory, `network-${pid}`, () => {
      const namespace = readlinkSync(`/proc/${pid}/ns/net`)
      if (known.has(namespace)) return
      known.add(namespace)
      const { stdout } = spawnSync('nsenter', ['-t', pid, '-n', 'sh', '-c', NETWORK], { encoding: 'utf8' })
      const programs = pids.filter((each) => read(each, 'cgroup') === read(pid, 'cgroup'))
      const commands = programs.map((each) => read(each, 'cmdline').replaceAll('\0', ' ')).join('\n')
      writeFileSync(join(directory, `network-${pid}.txt`), `${commands}\n\n${stdout}`)
    })
  }
}

/** The pages of a data process, and what is in its node's directory of state, names and owners only: there are keys in it. */
function keepZtunnel(directory: string, pid: string): void {
  const root = `/proc/${pid}/root`
  const ask = ['-s', '-m', '5', '--unix-socket', `${root}/${ADMIN_SOCKET}`]
  for (const page of PAGES) {
    const { stdout } = spawnSync('curl', [...ask, `http://ztunnel/${page}`], { maxBuffer: 1 << 28 })
    writeFileSync(join(directory, `${pid}-${page}`), stdout)
  }
  tryTo(directory, `${pid}-state`, () => {
    const { stdout } = spawnSync('ls', ['-la', '--full-time', `${root}/${STATE_DIRECTORY}`], {
      encoding: 'utf8',
    })
    const owners = readdirSync(`${root}/${STATE_DIRECTORY}`).map((name) => {
      const head = readFileSync(`${root}/${STATE_DIRECTORY}/${name}`, 'latin1').slice(0, 300)
      return `${name} of ${/"nodeName":"([^"]*)"/.exec(head)?.[1] ?? 'nobody'}`
    })
    writeFileSync(join(directory, `${pid}-state`), `${stdout}\n${owners.join('\n')}\n`)
  })
}

/** Processes end, files go: what is missing is said in its place. */
function tryTo(directory: string, name: string, keep: () => void): void {
  try {
    keep()
  } catch (error) {
    writeFileSync(join(directory, `${name}.missing`), `${error}\n`)
  }
}

function read(pid: string, file: 'cgroup' | 'cmdline'): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return ''
  }
}
