// SPDX-License-Identifier: Apache-2.0
// Bulk in plaintext through real ztunnels, in and out: it goes through pipes of the data process, whole and counted, past
// a client that reads late.
import { readdirSync, readlinkSync } from 'node:fs'
import t from 'tap'
import type { BulkSinkOptions } from '../../bench/load/bulk-sink.ts'
import type { BulkSourceOptions, BulkSourceResult } from '../../bench/load/bulk-source.ts'
import { Processes } from '../../bench/processes.ts'
import { BULK_BYTES, bulkHash } from '../support/bulk-pattern.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const [CART_IP, STRANGER_IP] = ['10.2.0.1', '10.1.0.3'] as const
const [BULK_PORT, SINK_PORT] = [9002, 9090] as const
const STREAMS = 4
const PROGRAM_TIMEOUT_MS = 60_000
const LOOK_MS = 20
const ONE_TEST = { timeout: 60_000 } as const

/** Ends of pipes that a process holds. */
function pipeEnds(pid: number): number {
  const directory = `/proc/${pid}/fd`
  return readdirSync(directory).filter((fd) => {
    try {
      return readlinkSync(`${directory}/${fd}`).startsWith('pipe:')
    } catch {
      return false // closed meanwhile
    }
  }).length
}

/** Looks at a process until it is asked: true when it had more ends of pipes than at the beginning, once at least. */
function watchPipes(pid: number): () => boolean {
  const before = pipeEnds(pid)
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, pipeEnds(pid))
  }, LOOK_MS)
  return () => {
    clearInterval(timer)
    return Math.max(most, pipeEnds(pid)) > before
  }
}

function dataPid(lab: MeshLab, node: 'n1' | 'n2'): number {
  const [pid] = lab.dataPids(node)
  if (pid === undefined) throw new Error(`${node} has no data process`)
  return pid
}

t.setTimeout(180_000)

t.test('bulk between plain sockets', { timeout: 170_000 }, async (t) => {
  const directory = labDirectory(t)
  const lab = await MeshLab.start(directory, labMesh([]))
  t.teardown(() => lab.close())

  await t.test('into a pod: a client that reads late loses nothing', ONE_TEST, async (t) => {
    const known = (await lab.records('n2')).length
    const hadPipes = watchPipes(dataPid(lab, 'n2'))
    const socket = lab.connect('stranger', CART_IP, BULK_PORT, 'paused')
    await socket.until('connected', ({ isConnected }) => isConnected)
    socket.count()
    await socket.until('all of it', ({ text }) => text !== '')
    t.equal(socket.text, `${BULK_BYTES} ${bulkHash()}`)
    t.ok(hadPipes(), 'it went through pipes')
    socket.end()
    const [record] = await lab.recordsAfter('n2', known, ({ bytes_sent }) => bytes_sent === BULK_BYTES)
    t.match(record, { reason: 'OK', direction: 'inbound' })
    socket.destroy()
  })

  await t.test('out of a pod: what was sent arrives, and is counted', ONE_TEST, async (t) => {
    const processes = new Processes(directory, process.env.PATH ?? '')
    t.teardown(() => processes.close())
    const sink: BulkSinkOptions = { port: SINK_PORT }
    await processes.hold(lab.namespaceOf('stranger'), 'bulk-sink', sink, PROGRAM_TIMEOUT_MS)
    const known = (await lab.records('n1')).length
    const hadPipes = watchPipes(dataPid(lab, 'n1'))
    const target = { ip: STRANGER_IP, port: SINK_PORT }
    const options: BulkSourceOptions = { target, streams: STREAMS, seconds: 2, bytesPerSecond: 0 }
    const { failure, bytes } = await processes.measure<BulkSourceResult>(
      ...([lab.namespaceOf('front'), 'bulk-source', options, PROGRAM_TIMEOUT_MS] as const),
    )
    t.equal(failure, '', 'each stream was confirmed to its last byte')
    t.ok(hadPipes(), 'it went through pipes')
    const records = await poll('all records', async () => {
      const all = (await lab.records('n1')).slice(known)
      const ours = all.filter(({ bytes_sent }) => Number(bytes_sent) > 0)
      return ours.length >= STREAMS ? ours : null
    })
    t.equal(
      records.reduce((sum, { bytes_sent }) => sum + Number(bytes_sent), 0),
      bytes,
    )
  })
})
