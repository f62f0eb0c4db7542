// SPDX-License-Identifier: Apache-2.0
// A worker dies of a message that no main thread sends.
import t from 'tap'
import type { DownMessage } from '../../ztunnel/worker-messages.ts'
import { poll } from '../support/mesh-lab.ts'
import { WorkerLab } from '../support/worker-lab.ts'

const FATAL = null as unknown as DownMessage // as: a defect

t.test('all workers start, are told apart, and answer', async (t) => {
  const lab = new WorkerLab(t)
  lab.set.start()
  t.same(lab.started, [0, 1])
  t.equal(lab.set.count, 2)
  await lab.serving()
  lab.set.post(1, { type: 'report', what: 'connections', request: 7 })
  await poll('an answer', () => lab.count('report') > 0 || null)
  t.match(lab.heard.at(-1), { worker: 1, message: { type: 'report', request: 7 } })
  lab.set.broadcast({ type: 'report', what: 'connections', request: 8 })
  await poll('answers', () => (lab.count('report', 0) === 1 && lab.count('report', 1) === 2) || null)
  t.equal(lab.count('labels'), 0, 'labels are its own business')
  t.equal(lab.set.droppedMessageCount, 0)
  for (const handles of lab.set.openHandles) t.ok((handles?.descriptor ?? 0) > 0)
})

t.test('a worker that dies is replaced, told everything again, and what was counted stays', async (t) => {
  const lab = new WorkerLab(t)
  lab.set.start()
  await lab.serving()
  for (let i = 0; i < 4; i++) await lab.ask()
  await poll('counted', () => lab.failures === 4 || null)
  for (const worker of [0, 1]) {
    lab.set.post(worker, FATAL)
    await poll('replaced', () => lab.started.length === 3 + worker || null)
    await lab.serving()
  }
  t.same(lab.started, [0, 1, 0, 1])
  t.equal(lab.set.lostCount, 2)
  const lost = lab.logged.filter(({ reason }) => reason === 'WORKER_LOST')
  t.match(lost, [
    { level: 50, worker: 0, err: { type: 'TypeError' } },
    { level: 50, worker: 1 },
  ])
  t.equal(lab.failures, 4, 'by workers that are gone')
  for (let i = 0; i < 4; i++) await lab.ask()
  await poll('counted', () => lab.failures === 8 || null)
  t.equal(lab.count('pod-failed'), 0)
})

t.test('while a worker is away the others serve, and messages to it are lost without harm', async (t) => {
  const lab = new WorkerLab(t)
  lab.set.start()
  await lab.serving()
  lab.set.post(0, FATAL)
  await poll('lost', () => lab.set.lostCount === 1 || null)
  t.equal(lab.set.openHandles[0], null)
  lab.set.post(0, { type: 'trim-memory' })
  await lab.ask()
  t.ok(lab.started.length <= 3)
})

t.test('a stopped set loses nobody and replaces nobody', async (t) => {
  const lab = new WorkerLab(t)
  lab.set.start()
  await lab.serving()
  lab.set.post(0, FATAL)
  await poll('lost', () => lab.set.lostCount === 1 || null)
  await lab.set.stop('SHUTDOWN')
  await new Promise((resolve) => setTimeout(resolve, 150)) // longer than a replacement would wait
  t.same(lab.started, [0, 1])
  t.equal(lab.set.lostCount, 1)
})

t.test('what is beyond a limit of the pod is refused, counted, and does not harm the next', async (t) => {
  const lab = new WorkerLab(t, { podConnectionsPerSecond: 2 })
  lab.set.start()
  await lab.serving()
  for (let i = 0; i < 6; i++) await lab.ask()
  const refused = lab.set.accounts.refusals('u')
  t.ok(refused['connection-rate'] >= 3, `${refused['connection-rate']} of six refused`)
  t.match(refused, { connections: 0, 'handshake-rate': 0, node: 0 })
  await poll('counted', () => lab.failures === 6 || null) // those within the limit fail too: the pod is not configured
  await poll('admitted again', async () => {
    const before = lab.set.accounts.refusals('u')['connection-rate']
    await lab.ask()
    return lab.set.accounts.refusals('u')['connection-rate'] === before || null
  })
})
