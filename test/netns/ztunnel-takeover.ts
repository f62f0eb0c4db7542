// SPDX-License-Identifier: Apache-2.0
// A supervisor that is killed: its data process serves on, and the next supervisor takes it over with all its pods. Real
// processes, observed from outside only.
import { existsSync } from 'node:fs'
import t, { type Test } from 'tap'
import { readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { ask, Caller } from '../support/lab-caller.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const NODES: readonly LabNode[] = ['n1', 'n2']
/** The promise is a second; what it took is told, and only a defect takes this long. */
const BACK_MS = 15_000

t.setTimeout(180_000)

const isRedirected = (lab: MeshLab, pod: 'front' | 'batch'): boolean =>
  readRedirectRules(lab.namespaceOf(pod)).tables.length > 0

async function openLab(t: Test): Promise<MeshLab> {
  t.setTimeout(90_000)
  const lab = await MeshLab.start(labDirectory(t), labMesh([]))
  t.teardown(() => lab.close())
  return lab
}

t.test('no connection notices that the supervisors of both nodes are killed', async (t) => {
  const lab = await openLab(t)
  const before = NODES.map((node) => lab.dataPids(node)[0] ?? -1)
  const stream = lab.connect('front', CART_IP, 9001)
  await stream.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  const caller = new Caller(lab)
  await caller.calls(5)
  for (const node of NODES) await lab.killSupervisor(node)
  await caller.calls(20)
  t.ok(
    before.every((pid) => existsSync(`/proc/${pid}`)),
    'the data processes live',
  )
  for (const node of NODES) t.match(lab.log(node), /SUPERVISOR_LOST/)
  const startedMs = performance.now()
  for (const node of NODES) await lab.revive(node)
  for (const node of NODES)
    await poll('taken over', () => /"msg":"data process taken over"/.test(lab.log(node)) || null)
  const tookMs = performance.now() - startedMs
  t.comment(`back after ${tookMs.toFixed(0)} ms`)
  t.ok(tookMs < BACK_MS)
  await caller.calls(20)
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
  t.ok(
    before.every((pid) => existsSync(`/proc/${pid}`)),
    'the same data processes',
  )
  t.notOk(stream.isClosed || stream.hasEnded, 'the stream lives')
  for (const node of NODES) t.same(lab.dataPids(node), [], 'nobody has started another one')

  await t.test('the new supervisor does what the first would have done', async (t) => {
    await lab.enrol('n1', ['front'])
    await poll('batch is out', () => !isRedirected(lab, 'batch') || null)
    t.ok(isRedirected(lab, 'front'))
    await lab.enrol('n1', ['front', 'batch'])
    await poll('batch is in', () => isRedirected(lab, 'batch') || null)
    t.match(await ask(lab), /200 OK/)
  })

  await t.test('a data process that was taken over and dies is replaced', async (t) => {
    process.kill(before[0] ?? -1, 'SIGKILL')
    await poll('another one', () => lab.dataPids('n1').length === 1 || null)
    await lab.ready('n1')
    t.match(await ask(lab), /200 OK/)
  })

  await t.test('at the end its pods are as they were', async (t) => {
    t.equal(await lab.stop('n1'), '0')
    t.notOk(isRedirected(lab, 'front') || isRedirected(lab, 'batch'))
  })
})

t.test('pods whose two processes were killed are served by the next ones', async (t) => {
  const lab = await openLab(t)
  await lab.kill('n1')
  t.ok(isRedirected(lab, 'front'), 'nothing goes out in plain text meanwhile')
  await lab.revive('n1')
  await lab.ready('n1')
  t.match(await ask(lab), /200 OK/)
})

t.test('a data process that nobody takes over drains and ends', async (t) => {
  const lab = await openLab(t)
  const [pid] = lab.dataPids('n1')
  await lab.killSupervisor('n1')
  await poll('the end of the process', () => !existsSync(`/proc/${pid}`) || null, 20_000)
  t.match(lab.log('n1'), /SUPERVISOR_LOST/)
})
