// SPDX-License-Identifier: Apache-2.0
// A pod that moves bulk at full rate beside one that asks little, through the same node: what the small requests of the
// other one take then, as figures to read, beside those of a machine that is only busy. Judged is just that both go on:
// requests are answered and bulk moves. More rounds: FAIRNESS_ROUNDS, of FAIRNESS_SECONDS each.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import type { BulkSinkOptions } from '../../bench/load/bulk-sink.ts'
import type { BulkSourceOptions, BulkSourceResult } from '../../bench/load/bulk-source.ts'
import type { OpenLoopOptions, OpenLoopResult } from '../../bench/load/open-loop.ts'
import { Processes } from '../../bench/processes.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const [HTTP_PORT, SINK_PORT] = [8080, 9090] as const
const ROUNDS = Number(process.env.FAIRNESS_ROUNDS ?? 2)
const SECONDS = Number(process.env.FAIRNESS_SECONDS ?? 2)
const REQUESTS_PER_SECOND = 200
const BULK_STREAMS = 8
/** Source, sink, and a worker of each node. */
const BUSY_THREADS = 4
const PROGRAM_TIMEOUT_MS = 60_000

t.setTimeout(600_000)

t.test('small requests of one pod beside the bulk of another', { timeout: 590_000 }, async (t) => {
  const directory = labDirectory(t)
  const lab = await MeshLab.start(directory, labMesh([]))
  t.teardown(() => lab.close())
  const processes = new Processes(directory, process.env.PATH ?? '')
  t.teardown(() => processes.close())
  const sink: BulkSinkOptions = { port: SINK_PORT }
  await processes.hold(lab.namespaceOf('cart'), 'bulk-sink', sink, PROGRAM_TIMEOUT_MS)

  const ask = async (): Promise<OpenLoopResult> => {
    const target = { ip: CART_IP, port: HTTP_PORT }
    const load = { connections: 8, rate: REQUESTS_PER_SECOND, warmUpSeconds: 0.5, seconds: SECONDS }
    const options: OpenLoopOptions = { target, ...load }
    const result = await processes.measure<OpenLoopResult>(
      ...([lab.namespaceOf('front'), 'open-loop', options, PROGRAM_TIMEOUT_MS] as const),
    )
    t.equal(result.failure, '')
    t.ok(result.answeredShare > 0.5, `${result.answeredShare} answered`)
    return result
  }
  const move = async (): Promise<number> => {
    const target = { ip: CART_IP, port: SINK_PORT }
    const options: BulkSourceOptions = {
      target,
      streams: BULK_STREAMS,
      seconds: SECONDS + 1.5,
      bytesPerSecond: 0,
    }
    const result = await processes.measure<BulkSourceResult>(
      ...([lab.namespaceOf('batch'), 'bulk-source', options, PROGRAM_TIMEOUT_MS] as const),
    )
    t.equal(result.failure, '')
    return result.bytes / 1e6 / result.seconds
  }

  /** As many busy threads as bulk keeps busy, and no byte: what a machine with too few cores does by itself. */
  const burn = async (): Promise<OpenLoopResult> => {
    const hogs = Array.from({ length: BUSY_THREADS }, () => spawn('sh', ['-c', 'while :; do :; done']))
    try {
      return await ask()
    } finally {
      for (const hog of hogs) hog.kill('SIGKILL')
      await Promise.all(hogs.map((hog) => once(hog, 'exit')))
    }
  }

  await ask()
  const ratios: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const alone = await ask()
    const [megabytes, beside] = await Promise.all([move(), ask()])
    t.ok(megabytes > 1, 'bulk moves')
    ratios.push(beside.p99Micros / alone.p99Micros)
    const micros = (result: OpenLoopResult): string =>
      `p50 ${result.p50Micros.toFixed(0)} p99 ${result.p99Micros.toFixed(0)} µs`
    const busy = await burn()
    t.comment(
      `alone ${micros(alone)}; beside ${megabytes.toFixed(0)} MB/s ${micros(beside)}; busy ${micros(busy)}`,
    )
  }
  t.comment(`p99 beside bulk / alone: ${ratios.map((each) => each.toFixed(2)).join(' ')}`)
})
