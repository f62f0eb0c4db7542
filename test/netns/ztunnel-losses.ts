// SPDX-License-Identifier: Apache-2.0
// What a node loses while it serves: a worker that stands still, and a pod whose processes, link and namespace go in the
// middle of calls. Others go on, it is said by its code, and nothing stays open. Real processes, observed from outside only.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { foreignDescriptors, socketsOf } from '../support/foreign-descriptors.ts'
import { ask, Caller } from '../support/lab-caller.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const HOLD = fileURLToPath(new URL('../support/hold-thread.ts', import.meta.url))
const CART_IP = '10.2.0.1'
const GREETER_PORT = 9001
const STREAMS = 16
const CALLS = 30
/** A worker that finishes no turn is given up after 5 s, which are looked at every second by a process that may be late. */
const HELD_MS = 12_000

t.setTimeout(150_000)

async function openLab(t: Test): Promise<MeshLab> {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]))
  t.teardown(() => lab.close())
  return lab
}

async function openStream(lab: MeshLab, pod: 'front' | 'batch'): Promise<LabSocket> {
  const stream = lab.connect(pod, CART_IP, GREETER_PORT)
  await stream.until('the greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  return stream
}

/** Those that answer; who does not is closed. */
async function echoing(streams: readonly LabSocket[]): Promise<number> {
  const before = streams.map(({ text }) => text.length)
  for (const stream of streams) stream.write('ping')
  const outcomes = await Promise.all(
    streams.map(async (stream, index) => {
      const isOver = ({ text, isClosed }: LabSocket): boolean =>
        isClosed || text.slice(before[index]) === 'ping'
      await stream.until('an echo, or the end', isOver)
      return !stream.isClosed
    }),
  )
  return outcomes.filter(Boolean).length
}

/** Threads of a process by their name. */
function threadOf(pid: number, name: string): number {
  const ids = readdirSync(`/proc/${pid}/task`).map(Number)
  return ids.find((id) => nameOfThread(pid, id) === name) ?? -1
}

/** '' for one that has ended meanwhile. */
function nameOfThread(pid: number, id: number): string {
  try {
    return readFileSync(`/proc/${pid}/task/${id}/comm`, 'utf8').trim()
  } catch {
    return ''
  }
}

t.test('a worker that stands still is ended and replaced; others go on', { timeout: 70_000 }, async (t) => {
  const lab = await openLab(t)
  const [pid = -1] = lab.dataPids('n1')
  const streams = await Promise.all(Array.from({ length: STREAMS }, () => openStream(lab, 'front')))
  const thread = threadOf(pid, 'worker-0')
  const holder = spawn(process.execPath, ['--no-warnings', HOLD, String(thread)], {
    ...{ stdio: ['ignore', 'inherit', 'inherit', 'ipc'] as const, env: {} },
  })
  const exited = once(holder, 'exit')
  await once(holder, 'message')
  t.ok(readdirSync(`/proc/${pid}/task`).includes(String(thread)), 'held')
  await new Promise((resolve) => setTimeout(resolve, HELD_MS))
  holder.disconnect()
  await exited
  await poll('it is replaced', () => {
    const next = threadOf(pid, 'worker-0')
    return (next !== -1 && next !== thread) || null
  })
  await poll('the log says it', () => lab.log('n1').includes('"reason":"WORKER_LOST"') || null)
  await lab.ready('n1')
  const left = await echoing(streams)
  t.comment(`${left} of ${STREAMS} streams were the other worker's`)
  t.ok(left > 0 && left < STREAMS)
  t.equal(lab.dataPids('n1')[0], pid, 'the process is the same')
  t.match((await lab.admin('n1', '/metrics')).text, /^sidestep_workers_lost_total 1$/m)
  const caller = new Caller(lab)
  await caller.calls(CALLS)
  await caller.stop()
  t.same(caller.failures, [])
  for (const stream of streams) stream.destroy()
})

t.test(
  'a pod that goes in the middle of calls takes nothing of others with it',
  { timeout: 70_000 },
  async (t) => {
    const lab = await openLab(t)
    await lab.enrol('n1', ['front'])
    const [pid = -1] = lab.dataPids('n1')
    await ask(lab)
    await poll('batch is out', () => lab.log('n1').includes('pod un-enrolled') || null)
    const ofBatch = () => lab.writtenRecords('n1').filter((record) => record['src.workload'] === 'batch')
    await lab.enrol('n1', ['front', 'batch'])
    await poll('batch is enrolled', async () => {
      ;(await openStream(lab, 'batch')).destroy()
      return ofBatch().length > 0 || null
    })
    const known = ofBatch().length
    const streams = await Promise.all(Array.from({ length: STREAMS }, () => openStream(lab, 'batch')))
    t.equal(await echoing(streams), STREAMS)

    const caller = new Caller(lab)
    await caller.calls(5)
    const { path } = lab.namespaceOf('batch')
    const accepted = Array.from({ length: 40 }, () => lab.connect('batch', CART_IP, GREETER_PORT))
    await poll('some are accepted', () => accepted.some(({ isConnected }) => isConnected) || null)
    const ofItsNetwork = lab.namespaceOf('batch').run(() => socketsOf('/proc/thread-self/net'))
    t.ok(foreignDescriptors(pid).some((link) => ofItsNetwork.has(link.replaceAll(/\D/g, ''))))
    process.kill(lab.pidOf('batch'), 'SIGKILL')
    lab.network.removePod('batch')
    await caller.calls(CALLS)
    const line = `- {uid: u-batch2, name: batch, namespace: shop, serviceAccount: batch, netns: ${path}}\n`
    await lab.enrol('n1', ['front'], line)
    await poll(
      'the next one of its name is named',
      () => /"reason":"NAMESPACE_GONE"/.test(lab.log('n1')) || null,
    )
    await lab.enrol('n1', ['front'])
    await caller.calls(CALLS)
    await caller.stop()
    t.same(caller.failures, [], `of ${caller.count} calls`)
    // Of front alone.
    const networks = () => foreignDescriptors(pid).filter((link) => link.startsWith('net:'))
    await poll('its network is not open any more', () => networks().length === 1 || null)
    const left = () => foreignDescriptors(pid).filter((link) => ofItsNetwork.has(link.replaceAll(/\D/g, '')))
    await poll('nor any socket in it', () => left().length === 0 || null)
    const cut = ofBatch()
      .slice(known)
      .filter(({ reason }) => reason !== 'OK') // those that asked whether it is enrolled
    const gone = cut.filter(({ reason }) => reason === 'ENDPOINT_GONE')
    t.ok(gone.length >= STREAMS, `${gone.length} of ${cut.length} were cut`)
    t.ok(gone.every(({ detail }) => detail === 'the pod was un-enrolled'))
    // Who had not read what was sent has reset when it was killed.
    const reasons = new Set(cut.map(({ reason }) => String(reason)))
    t.same([...reasons.difference(new Set(['ENDPOINT_GONE', 'PEER_RESET']))], [])
    t.match((await lab.admin('n1', '/metrics')).text, /^sidestep_workers_lost_total 0$/m)
    t.notMatch(readFileSync(join(lab.directory, 'n1.log'), 'utf8'), /WORKER_LOST|data process ended/)
  },
)
