// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { CniInstallation } from '../../../../../ztunnel/supervisor/enroll/cni/cni-installation.ts'
import { ManualClock } from '../../../../support/manual-clock.ts'

const LIST = JSON.stringify({ cniVersion: '1.0.0', name: 'lab', plugins: [{ type: 'bridge' }], x: 1 })
const ONE = JSON.stringify({ cniVersion: '1.0.0', name: 'lab', type: 'bridge' })

function openLab(t: Test, files: Readonly<Record<string, string>>, hasShell = true) {
  const root = t.testdir({ bin: {}, conf: files, host: { bin: {} } })
  // As in busybox: the target is not to be seen from here.
  if (hasShell) symlinkSync('/nowhere/busybox', join(root, 'host/bin/sh'))
  const said: string[] = []
  const log = pino({}, { write: (line: string) => void said.push(line) })
  const clock = new ManualClock()
  const open = (timeoutMs = 2000) =>
    new CniInstallation({
      ...{ binDirectory: join(root, 'bin'), confDirectory: join(root, 'conf'), hostRoot: join(root, 'host') },
      entry: {
        type: 'sidestep-cni',
        spool: '/run/s',
        timeoutMs,
        onTimeout: 'start',
        alwaysStart: '',
        bootSeconds: 9,
      },
      ...{ clock, log },
    })
  const read = (name: string) => JSON.parse(readFileSync(join(root, 'conf', name), 'utf8'))
  const list = (directory: 'bin' | 'conf'): readonly string[] => readdirSync(join(root, directory)).toSorted()
  return { root, clock, said, open, read, list, conf: (name: string) => join(root, 'conf', name) }
}
const types = ({ plugins }: { plugins: readonly { type: string }[] }): readonly string[] =>
  plugins.map(({ type }) => type)

t.test('the plugin goes into the first usable list, and leaves nothing when it goes', async (t) => {
  const { open, read, list, root, conf } = openLab(t, {
    '05-broken.conflist': '{',
    '10-lab.conflist': LIST,
    '20-other.conflist': LIST,
    README: '',
  })
  const installation = open()
  installation.sync()
  t.same(types(read('10-lab.conflist')), ['bridge', 'sidestep-cni'])
  t.same(types(read('20-other.conflist')), ['bridge'])
  t.equal(read('10-lab.conflist').x, 1)
  t.equal(statSync(join(root, 'bin/sidestep-cni')).mode & 0o777, 0o755)
  const { ino } = statSync(conf('10-lab.conflist'))
  installation.sync()
  t.equal(statSync(conf('10-lab.conflist')).ino, ino, 'what is right is not written again')
  installation.remove()
  t.same(read('10-lab.conflist'), JSON.parse(LIST))
  t.same(list('bin'), [])
  t.same(list('conf'), ['05-broken.conflist', '10-lab.conflist', '20-other.conflist', 'README'])
})

t.test('what somebody overwrites or removes is healed', async (t) => {
  const { open, read, clock, conf, root, list } = openLab(t, { '10-lab.conflist': LIST })
  const installation = open()
  installation.start()
  t.teardown(() => installation.stop())
  writeFileSync(conf('10-lab.conflist'), LIST)
  rmSync(join(root, 'bin/sidestep-cni'))
  clock.advance(5_000)
  t.same(types(read('10-lab.conflist')), ['bridge', 'sidestep-cni'])
  t.same(list('bin'), ['sidestep-cni'])
})

t.test('of two the later one keeps its settings', async (t) => {
  const { open, read } = openLab(t, { '10-lab.conflist': LIST })
  const [before, after] = [open(1), open(2)]
  for (const each of [before, after, before]) each.sync()
  t.equal(read('10-lab.conflist').plugins[1].timeoutMs, 2)
})

t.test('a single plugin becomes a list, and is one again at the end', async (t) => {
  const { open, read, list } = openLab(t, { '10-lab.conf': ONE })
  const installation = open()
  installation.sync()
  t.same(list('conf'), ['10-lab.conf.sidestep-saved', '10-lab.conflist'])
  t.same(types(read('10-lab.conflist')), ['bridge', 'sidestep-cni'])
  installation.remove()
  t.same(list('conf'), ['10-lab.conf'])
  t.same(read('10-lab.conf'), JSON.parse(ONE))
})

t.test('a list that somebody made of it meanwhile stays', async (t) => {
  const { open, read, list, conf } = openLab(t, { '10-lab.conf': ONE })
  const installation = open()
  installation.sync()
  const other = read('10-lab.conflist')
  writeFileSync(
    conf('10-lab.conflist'),
    JSON.stringify({ ...other, plugins: [{ type: 'more' }, ...other.plugins] }),
  )
  installation.remove()
  t.same(types(read('10-lab.conflist')), ['more', 'bridge'])
  t.ok(list('conf').includes('10-lab.conflist'))
})

t.test(
  'nothing is put onto a node where it could not run, or where there is nothing to put it into',
  async (t) => {
    const shellless = openLab(t, { '10-lab.conflist': LIST }, false)
    shellless.open().sync()
    t.same([shellless.list('bin'), types(shellless.read('10-lab.conflist'))], [[], ['bridge']])
    t.match(shellless.said.join(), /CNI_CONFIG.*has no shell/)

    const empty = openLab(t, {})
    const installation = empty.open()
    for (let looks = 0; looks < 3; looks++) installation.sync()
    t.equal(empty.said.length, 1, 'said once')
    writeFileSync(empty.conf('10-lab.conflist'), LIST)
    installation.sync()
    t.same(types(empty.read('10-lab.conflist')), ['bridge', 'sidestep-cni'])
  },
)

t.test('what cannot be read or written is said, and breaks nothing', async (t) => {
  const { open, said, root, conf } = openLab(t, {})
  mkdirSync(conf('00-directory.conflist'))
  writeFileSync(conf('01-large.conflist'), ' '.repeat(1_048_577))
  writeFileSync(conf('10-old.conflist'), LIST.replace('1.0.0', '0.2.0'))
  open().sync()
  t.match(said.at(-1), /10-old.conflist: its cniVersion is/)
  rmSync(join(root, 'conf'), { recursive: true })
  const installation = open()
  installation.sync()
  installation.remove()
  t.match(said.join(), /ENOENT/)
})
