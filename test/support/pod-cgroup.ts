// SPDX-License-Identifier: Apache-2.0
// Control groups named as a kubelet names those of pods, for processes of tests. Root.
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const V1 = '/sys/fs/cgroup/pids' // as good as any: the names of all hierarchies are looked at
const V2 = '/sys/fs/cgroup'
const root = existsSync(join(V1, 'cgroup.procs')) ? V1 : V2

/** Moves a process into `path`, as `kubepods/pod<uid>/c`; returns what moves it out and removes the groups. */
export function enterCgroup(pid: number, path: string): () => void {
  const directory = join(root, path)
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'cgroup.procs'), String(pid))
  return () => {
    if (existsSync(`/proc/${pid}`)) writeFileSync(join(root, 'cgroup.procs'), String(pid))
    for (let each = directory; each !== root; each = dirname(each)) {
      try {
        rmdirSync(each)
      } catch {
        return // another test is in it
      }
    }
  }
}
