// SPDX-License-Identifier: Apache-2.0
// Two supervisors on one node, as in an update: the next one is given the pods by the one before, and no connection
// notices. Real processes, observed from outside only.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import t, { type Test } from 'tap'
import { readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { ask, Caller } from '../support/lab-caller.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
/** Who has stood down looks three times, a second apart; then a data process is started. */
const LEADS_AGAIN_MS = 20_000

t.setTimeout(300_000)

async function openLab(t: Test): Promise<MeshLab> {
  t.setTimeout(90_000)
  const lab = await MeshLab.start(labDirectory(t), labMesh([]))
  t.teardown(() => lab.close())
  return lab
}

async function logged(lab: MeshLab, node: 'n1' | 'n2', text: RegExp): Promise<void> {
  await poll(`${text} in the log of ${node}`, () => text.test(lab.log(node)) || null).catch(
    (error: Error) => {
      throw new Error(`${error.message}\n${lab.log(node)}`)
    },
  )
}

async function ended(child: ChildProcess): Promise<unknown> {
  const isOver = once(child, 'exit')
  child.kill('SIGTERM')
  const [code] = await isOver
  return code
}

/** A connection that stays. */
async function openStream(lab: MeshLab): Promise<LabSocket> {
  const stream = lab.connect('front', CART_IP, 9001)
  await stream.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  return stream
}

async function echo(stream: LabSocket): Promise<void> {
  const { length } = stream.text
  stream.write('still here')
  await stream.until('the echo', ({ text }) => text.slice(length) === 'still here')
}

const isRedirected = (lab: MeshLab, pod: 'front' | 'batch'): boolean =>
  readRedirectRules(lab.namespaceOf(pod)).tables.length > 0

t.test('the next supervisors of both nodes take the pods while they are in use', async (t) => {
  const lab = await openLab(t)
  const stream = await openStream(lab)
  const caller = new Caller(lab)
  await caller.calls(5)
  const before = { n1: await lab.startNext('n1'), n2: await lab.startNext('n2') }
  for (const node of ['n1', 'n2'] as const) await logged(lab, node, /the next supervisor serves/)
  await caller.calls(30)
  t.notOk(stream.isClosed || stream.hasEnded, 'the stream lives in the data processes before')
  await echo(stream)

  await t.test('a pod leaves the mesh and comes back while they drain', async (t) => {
    await lab.enrol('n1', ['front'])
    await poll('batch is out', () => !isRedirected(lab, 'batch') || null)
    await lab.enrol('n1', ['front', 'batch'])
    await poll('batch is in', () => isRedirected(lab, 'batch') || null)
    await echo(stream)
    t.notOk(stream.isClosed)
  })
  stream.destroy()
  t.equal(await ended(before.n1), 0)
  t.equal(await ended(before.n2), 0)
  await caller.calls(30)
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
  t.ok(isRedirected(lab, 'front'), 'the rules are the next one’s')

  await t.test('which does what is to be done', async (t) => {
    await lab.enrol('n1', ['front'])
    await poll('batch is out', () => !isRedirected(lab, 'batch') || null)
    await lab.enrol('n1', ['front', 'batch'])
    await poll('batch is in', () => isRedirected(lab, 'batch') || null)
    t.match(await ask(lab), /200 OK/)
    t.equal(await lab.stop('n1'), '0')
    t.notOk(isRedirected(lab, 'front') || isRedirected(lab, 'batch'))
  })
})

t.test('a next supervisor that dies before it serves changes nothing', async (t) => {
  const lab = await openLab(t)
  const caller = new Caller(lab)
  const first = await lab.startNext('n1')
  await logged(lab, 'n1', /pods handed over/)
  await lab.kill('n1')
  await logged(lab, 'n1', /HANDOVER_FAILED/)
  await caller.calls(20)
  await lab.enrol('n1', ['front'])
  await poll('the first one follows the file', () => !isRedirected(lab, 'batch') || null)
  const second = await lab.startNext('n1')
  t.notOk(second === first)
  await poll('another one serves', () => lab.log('n1').includes('the next supervisor serves') || null, 20_000)
  await caller.calls(20)
  t.equal(await ended(first), 0)
  await caller.calls(20)
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
})

t.test('a supervisor that dies in the middle of the hand-over is followed all the same', async (t) => {
  const lab = await openLab(t)
  const stream = await openStream(lab)
  const caller = new Caller(lab)
  await caller.calls(5)
  const first = await lab.startNext('n1')
  await logged(lab, 'n1', /pods handed over/)
  t.notMatch(lab.log('n1'), /the next supervisor serves/, 'in the middle of it')
  const isDead = once(first, 'exit')
  first.kill('SIGKILL')
  await isDead
  await lab.ready('n1')
  await caller.calls(20)
  await logged(lab, 'n1', /HANDOVER_FAILED.*ended in the middle/)
  // Nobody takes the data process of the one that died over: what is open in it ends as in every update.
  const drainingCount = async (): Promise<number> => {
    const { generations } = JSON.parse((await lab.admin('n1', '/drain')).text) as { generations: unknown[] } // as: our API
    return generations.length
  }
  await poll('it drains', async () => (await drainingCount()) === 1 || null)
  await echo(stream)
  stream.destroy()
  await poll('it has ended', async () => (await drainingCount()) === 0 || null)
  t.equal(lab.dataPids('n1').length, 1)
  await lab.enrol('n1', ['front'])
  await poll('the next one follows the file', () => !isRedirected(lab, 'batch') || null)
  await lab.enrol('n1', ['front', 'batch'])
  await poll('and again', () => isRedirected(lab, 'batch') || null)
  await caller.calls(20)
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
})

t.test('who has stood down leads again when nobody does', async (t) => {
  const lab = await openLab(t)
  const first = await lab.startNext('n1')
  await logged(lab, 'n1', /the next supervisor serves/)
  const data = lab.dataPids('n1')
  await lab.kill('n1')
  t.ok(data.every((pid) => !existsSync(`/proc/${pid}`)))
  await poll('it leads', () => lab.log('n1').includes('leading again') || null, LEADS_AGAIN_MS)
  await lab.ready('n1')
  t.match(await ask(lab), /200 OK/)
  t.equal(await ended(first), 0)
  t.notOk(isRedirected(lab, 'front'))
})

t.test('what drains under one that was replaced ends with the last ztunnel of the node', async (t) => {
  const lab = await openLab(t)
  const stream = lab.connect('front', CART_IP, 9001)
  await stream.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  const first = await lab.startNext('n1')
  await logged(lab, 'n1', /the next supervisor serves/)
  const end = ended(first)
  t.equal(await lab.stop('n1'), '0')
  t.equal(await end, 0)
  await stream.until('its end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
})

t.test('a next supervisor that is too slow gives the pods back, and asks again', async (t) => {
  const lab = await openLab(t)
  const caller = new Caller(lab)
  const first = await lab.startNext('n1')
  await logged(lab, 'n1', /pods handed over/)
  const slow = lab.supervisorPid('n1')
  process.kill(slow, 'SIGSTOP')
  await logged(lab, 'n1', /HANDOVER_FAILED.*going on/)
  await caller.calls(20)
  await lab.enrol('n1', ['front'])
  await poll('the first one follows the file', () => !isRedirected(lab, 'batch') || null)
  process.kill(slow, 'SIGCONT')
  await logged(lab, 'n1', /the supervisor before goes on/)
  await poll('its data process has nothing to wait for', () => lab.dataPids('n1').length === 1 || null)
  await lab.ready('n1')
  await caller.calls(20)
  await logged(lab, 'n1', /the next supervisor serves/)
  t.equal(await ended(first), 0)
  await lab.enrol('n1', ['front', 'batch'])
  await poll('the next one follows the file', () => isRedirected(lab, 'batch') || null)
  await caller.calls(20)
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
})
