// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { TransientWorker } from '../../../mesh/runtime/transient-worker.ts'
import type { FixtureMethods } from '../../fixtures/transient-thread.ts'

const ENTRY = new URL('../../fixtures/transient-thread.ts', import.meta.url)

function start(t: Test): { worker: TransientWorker<FixtureMethods>; ended: Promise<void> } {
  let onEnded = (): void => {}
  const ended = new Promise<void>((resolve) => {
    onEnded = resolve
  })
  const worker = new TransientWorker<FixtureMethods>(ENTRY, () => onEnded())
  t.teardown(() => worker.close())
  return { worker, ended }
}

t.test('answers belong to their calls, whatever their order', async (t) => {
  const { worker } = start(t)
  t.equal(worker.isRunning, false, 'no thread before the first call')
  const answers = await Promise.all([
    worker.call('later', 'a'),
    worker.call('double', 21),
    worker.call('later', 'b'),
  ])
  t.same(answers, ['a', 42, 'b'])
})

t.test('calls in a row share a thread, which ends when none come', async (t) => {
  const { worker, ended } = start(t)
  const first = await worker.call('thread')
  t.equal(await worker.call('thread'), first)
  const alive = setTimeout(() => {}, 5000) // an idle thread keeps no process alive
  await ended
  clearTimeout(alive)
  t.equal(worker.isRunning, false)
  t.not(await worker.call('thread'), first, 'a later call starts another')
})

t.test('an open call keeps the thread beyond its idle time', async (t) => {
  const { worker } = start(t)
  await worker.call('thread')
  const silent = worker.call('silent')
  const closed = t.rejects(silent, { code: 'SHUTDOWN' })
  t.equal(worker.isRunning, true)
  await worker.close()
  await closed
})

t.test('a failure keeps its code; a defect keeps its text', async (t) => {
  const { worker } = start(t)
  await t.rejects(worker.call('refuse'), { code: 'CERT_INVALID', detail: 'a reason', retryable: true })
  await t.rejects(worker.call('fail'), { message: 'a defect' })
  t.equal(await worker.call('double', 1), 2, 'the thread goes on')
})

t.test('a thread that dies rejects what it was asked, and the next call starts another', async (t) => {
  const { worker } = start(t)
  await t.rejects(worker.call('die'), { code: 'WORKER_LOST', retryable: true })
  t.equal(await worker.call('double', 2), 4)
})

t.test('after close nothing is started', async (t) => {
  const { worker } = start(t)
  await worker.close()
  await t.rejects(worker.call('double', 1), { code: 'SHUTDOWN' })
  t.equal(worker.isRunning, false)
})
