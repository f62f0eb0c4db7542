// SPDX-License-Identifier: Apache-2.0
// Real processes in real control groups and namespaces; and a /proc of files where a real one would need luck.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { findPodNamespaces } from '../../ztunnel/supervisor/enroll/pod-namespaces.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { enterCgroup } from '../support/pod-cgroup.ts'

const uidOf = (digit: string): string =>
  `${digit.repeat(8)}-0000-4000-8000-${String(process.pid).padStart(12, '0')}`
const [A, B, HOST, NOBODY] = [uidOf('a'), uidOf('b'), uidOf('c'), uidOf('d')]
const descriptors = (): number => readdirSync('/proc/self/fd').length

async function startIn(t: Test, namespace: NetworkNamespace | null, group: string): Promise<ChildProcess> {
  const start = () => spawn('sleep', ['1000'], { stdio: 'ignore' })
  const child = namespace === null ? start() : namespace.run(start)
  const leave = enterCgroup(child.pid ?? 0, group)
  t.teardown(async () => {
    leave()
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  return child
}

function create(t: Test): NetworkNamespace {
  const namespace = NetworkNamespace.create()
  t.teardown(() => namespace.close())
  return namespace
}

async function inodesOf(uids: readonly string[], procPath = '/proc'): Promise<Record<string, number>> {
  const { found } = await findPodNamespaces(new Set(uids), procPath)
  const inodes = [...found].map(([uid, fd]) => [uid, fstatSync(fd).ino] as const)
  for (const fd of found.values()) closeSync(fd)
  return Object.fromEntries(inodes)
}

t.test('one look finds the namespaces of running pods, and of no others', async (t) => {
  const [a, b, inner] = [create(t), create(t), create(t)]
  await startIn(t, a, `kubepods/burstable/pod${A}/pause`)
  await startIn(t, inner, `kubepods/burstable/pod${A}/c1`)
  await startIn(t, null, `kubepods/burstable/pod${A}/c2`)
  const slice = `kubepods.slice/kubepods-pod${B.replaceAll('-', '_')}.slice/cri-containerd-x.scope`
  await startIn(t, b, slice)
  await startIn(t, null, `kubepods/pod${HOST}/c1`)
  const before = descriptors()
  t.same(await inodesOf([A, B, HOST, NOBODY]), { [A]: a.inode, [B]: b.inode }, 'the first process counts')
  t.same(await inodesOf([B]), { [B]: b.inode })
  t.same(await inodesOf([]), {})
  t.equal(descriptors(), before)
})

/** A /proc of its own: a process of `uid` for every entry. */
function fakeProc(
  t: Test,
  entries: Readonly<Record<string, { netns: string; cgroup: string; stat: string }>>,
) {
  const root = labDirectory(t)
  for (const [pid, { netns, cgroup, stat }] of Object.entries(entries)) {
    mkdirSync(join(root, pid, 'ns'), { recursive: true })
    writeFileSync(join(root, pid, 'cgroup'), cgroup)
    writeFileSync(join(root, pid, 'stat'), stat)
    symlinkSync(netns, join(root, pid, 'ns', 'net'))
  }
  return root
}

t.test('another /proc is believed; broken files of it are passed over', async (t) => {
  const [a, b, host] = [create(t), create(t), create(t)]
  const cgroup = `0::/kubepods/pod${A}/c\n`
  const stat = (start: number): string => `7 (a) b) S ${'0 '.repeat(18)}${start} 0\n`
  const root = fakeProc(t, {
    '1': { netns: host.path, cgroup: '0::/\n', stat: stat(1) },
    '40': { netns: a.path, cgroup, stat: stat(500) },
    '30': { netns: b.path, cgroup, stat: stat(600) },
    '20': { netns: host.path, cgroup, stat: stat(2) },
    '21': { netns: b.path, cgroup: `${'x'.repeat(70_000)}\n${cgroup}`, stat: stat(3) },
    '22': { netns: '/nowhere', cgroup, stat: stat(4) },
    '23': { netns: b.path, cgroup, stat: 'garbage' },
    '024': { netns: b.path, cgroup, stat: stat(5) },
    self: { netns: b.path, cgroup, stat: stat(6) },
  })
  const before = descriptors()
  t.same(await inodesOf([A], root), { [A]: a.inode }, 'the oldest in a namespace of its own')
  t.equal(descriptors(), before)
  await t.rejects(inodesOf([A], join(root, 'none')), { code: 'ENOENT' })
})
