// SPDX-License-Identifier: Apache-2.0
// The spool as a plugin of ours and a node's root use it; the script itself is in test/contract/cni-plugin.ts.
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { CniRequest } from '../../../../../ztunnel/supervisor/enroll/cni/cni-request.ts'
import { type Admission, CniSpool } from '../../../../../ztunnel/supervisor/enroll/cni/cni-spool.ts'
import { ManualClock } from '../../../../support/manual-clock.ts'

const IN: Admission = { kind: 'done', isEnrolled: true }
const OUT: Admission = { kind: 'done', isEnrolled: false }
const UNKNOWN: Admission = { kind: 'failed', code: 'POD_UNKNOWN' }
const TICK_MS = 500
const request = (name: string): string =>
  `netns=/run/netns/${name}\nargs=K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name}\n`

/** A spool whose pods are admitted when the test says so. Looks come by ticks, which are the test's. */
function openLab(t: Test) {
  const directory = join(t.testdir({}), 'spool')
  const clock = new ManualClock(Date.now())
  const asked = new Map<string, (admission: Admission) => void>()
  const late: string[] = []
  const open = (): CniSpool => {
    const spool = new CniSpool({
      ...{ directory, clock, log: pino({ level: 'silent' }) },
      admit: ({ pod }: CniRequest) => new Promise((resolve) => asked.set(pod.name, resolve)),
      onLate: ({ pod }) => late.push(pod.name),
    })
    t.teardown(() => spool.stop())
    return spool
  }
  const path = (file: string): string => join(directory, file)
  const write = (file: string, text = request(file.replace(/\..*/, ''))): void =>
    writeFileSync(path(file), text)
  const answer = async (name: string, admission: Admission): Promise<void> => {
    asked.get(name)?.(admission)
    asked.delete(name)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const read = (file: string): string => readFileSync(path(file), 'utf8')
  const list = (): readonly string[] =>
    readdirSync(directory)
      .filter((name) => name !== 'alive')
      .toSorted()
  return {
    directory,
    clock,
    asked,
    late,
    open,
    path,
    write,
    answer,
    read,
    list,
    tick: () => clock.advance(TICK_MS),
  }
}

t.test('a request is answered when the pod stands, and cleared when the plugin has taken it', async (t) => {
  const { open, write, answer, read, list, path, tick, directory } = openLab(t)
  open().start()
  t.equal(statSync(directory).mode & 0o777, 0o700)
  for (const name of ['in', 'out', 'bad']) write(`${name}.request`)
  tick()
  t.equal(existsSync(path('in.answer')), false)
  await answer('in', IN)
  await answer('out', OUT)
  await answer('bad', { kind: 'failed', code: 'NETLINK' })
  t.equal(read('in.answer'), 'done\n')
  t.equal(read('out.answer'), 'done\n')
  t.equal(read('bad.answer'), 'failed NETLINK\n')
  for (const name of ['in', 'out', 'bad']) rmSync(path(`${name}.request`))
  tick()
  t.same(list(), [])
})

t.test('what is no request is answered as such, and opens nothing', async (t) => {
  const { open, write, read, list, path, tick, asked, directory } = openLab(t)
  mkdirSync(directory)
  spawnSync('mkfifo', [path('pipe.request')])
  symlinkSync('/etc/passwd', path('link.request'))
  mkdirSync(path('directory.request'))
  write('large.request', request('a').padEnd(4097, ';'))
  write('empty.request', '')
  write('strange name', 'x')
  mkdirSync(path('strange'))
  write('.hidden.request')
  open().start()
  tick()
  for (const name of ['pipe', 'directory', 'large', 'empty'])
    t.equal(read(`${name}.answer`), 'failed CNI_REQUEST_INVALID\n', name)
  t.equal(existsSync(path('link.answer')), false, 'nobody of ours makes links')
  t.notMatch(list().join(), /strange|hidden/)
  t.equal(asked.size, 0)
})

t.test('a flood is worked on a few at a time, and all get their turn', async (t) => {
  const { open, write, asked, answer, tick, path, directory } = openLab(t)
  mkdirSync(directory)
  for (let pod = 0; pod < 200; pod++) write(`p${pod}.request`)
  open().start()
  const answered: string[] = []
  while (asked.size > 0) {
    t.ok(asked.size <= 64)
    for (const name of [...asked.keys()]) {
      await answer(name, OUT)
      answered.push(name)
    }
    tick()
  }
  t.equal(new Set(answered).size, 200)
  t.ok(existsSync(path('p199.answer')))
})

t.test('an agent that is replaced in the middle is harmless: the next one answers', async (t) => {
  const { open, write, answer, read, tick, asked, path } = openLab(t)
  const first = open()
  first.start()
  write('a.request')
  tick()
  first.stop()
  await answer('a', IN)
  t.equal(existsSync(path('a.answer')), false)
  open().start()
  t.ok(asked.has('a'))
  await answer('a', IN)
  t.equal(read('a.answer'), 'done\n')
})

t.test('a pod that started without us is looked after, and told when it is of the mesh', async (t) => {
  const { open, write, answer, tick, late, list, path } = openLab(t)
  open().start()
  for (const name of ['in', 'out', 'bad', 'gone']) write(`${name}.late`)
  tick()
  await answer('in', IN)
  await answer('out', OUT)
  await answer('bad', { kind: 'failed', code: 'NETLINK' })
  await answer('gone', { kind: 'failed', code: 'NAMESPACE_GONE' })
  t.same(late, ['in', 'bad'])
  t.same(list(), [])
  // The plugin gave up while we worked on it.
  write('slow.request')
  tick()
  renameSync(path('slow.request'), path('slow.late'))
  tick()
  await answer('slow', IN)
  tick()
  t.same(late, ['in', 'bad', 'slow'])
  t.same(list(), [])
})

t.test('what cannot be known of a late pod is asked again, once a tick', async (t) => {
  const { open, write, answer, tick, asked, late, list } = openLab(t)
  open().start()
  write('a.late')
  for (let looks = 0; looks < 200; looks++) {
    tick()
    t.ok(asked.has('a'))
    await answer('a', UNKNOWN)
    t.equal(asked.size, 0)
  }
  tick()
  await answer('a', IN)
  t.same([late, list()], [['a'], []])
})

t.test('what a plugin has left behind goes after a minute', async (t) => {
  const { open, write, answer, tick, list, clock } = openLab(t)
  open().start()
  write('dead.request')
  write('dead.tmp', '')
  write('orphan.answer', 'done\n')
  tick()
  await answer('dead', IN)
  t.same(list(), ['dead.answer', 'dead.request', 'dead.tmp'])
  clock.jump(3_600_000)
  tick()
  t.same(list(), ['dead.answer', 'dead.request', 'dead.tmp'], 'the time of day has stepped, nothing more')
  clock.advance(60_000 + TICK_MS)
  t.same(list(), [])
})

t.test('it says that it lives, and when it ends says so unless another one lives', async (t) => {
  const { open, read, tick, path, clock } = openLab(t)
  const [first, second] = [open(), open()]
  first.start()
  const [uptime] = readFileSync('/proc/uptime', 'latin1').split('.')
  t.match(read('alive'), new RegExp(`^(${uptime}|${Number(uptime) - 1})\\.\\d\\d ${process.pid}\\n$`))
  rmSync(path('alive'))
  tick()
  t.ok(existsSync(path('alive')))
  writeFileSync(path('alive'), '1.00 77\n')
  first.stop()
  t.equal(read('alive'), '1.00 77\n', 'another one has written it')
  second.start()
  second.stop()
  t.equal(existsSync(path('alive')), false)
  clock.advance(10_000)
  t.equal(existsSync(path('alive')), false)
})

t.test('news is seen without a tick', async (t) => {
  const { open, write, asked } = openLab(t)
  open().start()
  write('a.request')
  while (!asked.has('a')) await new Promise((resolve) => setImmediate(resolve))
  t.ok(asked.has('a'))
})

t.test('a spool that cannot be made is tried again', async (t) => {
  const { open, write, asked, tick, directory } = openLab(t)
  writeFileSync(directory, 'a file')
  open().start()
  tick()
  rmSync(directory)
  tick()
  write('a.request')
  tick()
  t.ok(asked.has('a'))
})
