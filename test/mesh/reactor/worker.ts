// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { Socket } from 'node:net'
import t from 'tap'
import { STUCK_AFTER_MS } from '../../../mesh/reactor/heartbeat.ts'
import { createWakeFd, ReactorWorker, type WorkerExit } from '../../../mesh/reactor/worker.ts'
import type { Command } from '../../fixtures/reactor-thread.ts'
import { createUnixDescriptors } from '../../support/reactor-pairs.ts'

interface Started {
  readonly worker: ReactorWorker<Command, string>
  readonly messages: string[]
  readonly next: () => Promise<string>
  readonly exited: Promise<WorkerExit>
}

function start(): Started {
  const messages: string[] = []
  let wakeNext: ((text: string) => void) | null = null
  let onExit: (exit: WorkerExit) => void = () => {}
  const exited = new Promise<WorkerExit>((resolve) => {
    onExit = resolve
  })
  const worker = new ReactorWorker<Command, string>(
    new URL('../../fixtures/reactor-thread.ts', import.meta.url),
    {
      name: 'test',
      data: null,
      wakeFd: createWakeFd(),
      onMessage: (text) => {
        messages.push(text)
        wakeNext?.(text)
      },
      onExit: (exit) => onExit(exit),
    },
  )
  const next = (): Promise<string> =>
    new Promise((resolve) => {
      wakeNext = resolve
    })
  return { worker, messages, next, exited }
}

t.test('messages go both ways and a stopped worker ends without error', async (t) => {
  const { worker, messages, next, exited } = start()
  const answer = next()
  worker.post({ type: 'echo', text: 'hello' })
  t.equal(await answer, 'hello')
  worker.post({ type: 'stop' })
  await worker.stop()
  t.match(await exited, { error: null, closedDescriptors: 1 }, 'its epoll descriptor is closed by main')
  t.same(messages, ['hello'])
  t.equal(worker.droppedCount, 0)
})

t.test(
  'many messages are taken over many turns, in their order, and none waits for another wake',
  async (t) => {
    const { worker, messages } = start()
    const count = 20
    for (let i = 0; i < count; i++) worker.post({ type: 'work', ms: 2 })
    while (messages.length < count) await new Promise((resolve) => setImmediate(resolve))
    const turns = messages.map(Number)
    t.same(
      turns,
      turns.toSorted((left, right) => left - right),
    )
    t.ok(new Set(turns).size >= count - 1, `${new Set(turns).size} turns`) // the first may share its turn with the start
    await worker.terminate()
  },
)

t.test('a worker that throws leaves no socket open: its peers are told at once', async (t) => {
  const { worker, next, exited } = start()
  const [theirs, ours] = createUnixDescriptors()
  const peer = new Socket({ fd: ours })
  const ended = once(peer, 'close')
  peer.on('error', () => {}) // a reset is a fine way to be told
  peer.resume()
  const owned = next()
  worker.post({ type: 'own', fd: theirs })
  await owned
  const thrownMs = performance.now()
  worker.post({ type: 'throw' })
  const exit = await exited
  t.match(exit.error, { message: 'planted' })
  t.equal(exit.closedDescriptors, 2)
  await ended
  t.ok(performance.now() - thrownMs < 2000, 'the peer heard of it')
})

t.test('a stuck worker is ended', async (t) => {
  const { worker, next, exited } = start()
  // One that has not finished its first turn is given more time.
  for (let turn = 0; turn === 0; ) {
    const answer = next()
    worker.post({ type: 'work', ms: 1 })
    turn = Number(await answer)
  }
  worker.post({ type: 'hang' })
  const exit = await exited
  t.match(exit.error, { code: 'WORKER_LOST', detail: `test finished no turn in ${STUCK_AFTER_MS} ms` })
})

t.test('a busy worker is terminated in less than two seconds', async (t) => {
  const { worker } = start()
  for (let i = 0; i < 5000; i++) worker.post({ type: 'echo', text: String(i) })
  const startedMs = performance.now()
  await worker.terminate()
  t.ok(performance.now() - startedMs < 2000)
})
