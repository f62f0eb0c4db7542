// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { plainBytes } from '../../../../mesh/reactor/ffi/native.ts'

const OFFSET = 16
const BYTES = 65_536

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void // as: what the flag exposes

t.test('plain bytes are the shared memory itself, in every thread', async (t) => {
  const memory = new SharedArrayBuffer(OFFSET + BYTES)
  const bytes = plainBytes(memory, OFFSET)
  t.equal(bytes.length, BYTES)
  t.notOk(bytes.buffer instanceof SharedArrayBuffer, 'copied as memory of one thread is')
  bytes.write('here', 0)
  t.equal(Buffer.from(memory, OFFSET).toString('utf8', 0, 4), 'here')
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     parentPort.postMessage(Buffer.from(workerData, ${OFFSET}).toString('utf8', 0, 4))
     Buffer.from(workerData, ${OFFSET}).write('there', ${BYTES - 5})`,
    { eval: true, workerData: memory },
  )
  const [read] = await Promise.all([
    new Promise((resolve) => worker.once('message', resolve)),
    new Promise((resolve) => worker.once('exit', resolve)),
  ])
  t.equal(read, 'here')
  t.equal(bytes.toString('utf8', BYTES - 5), 'there')
})

t.test('the memory is there as long as they are', async (t) => {
  const views: Buffer[] = []
  for (let index = 0; index < 200; index++) {
    const view = plainBytes(new SharedArrayBuffer(OFFSET + BYTES), OFFSET)
    view.fill(index)
    views.push(view)
  }
  for (let round = 0; round < 3; round++) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
  // What was let go of would be theirs now.
  const others = Array.from({ length: 400 }, () => new SharedArrayBuffer(OFFSET + BYTES))
  t.ok(
    views.every((view, index) => view[0] === index && view[BYTES - 1] === index),
    `beside ${others.length} others`,
  )
})
