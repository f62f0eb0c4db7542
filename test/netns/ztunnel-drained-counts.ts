// SPDX-License-Identifier: Apache-2.0
// What processes that drain go on to count is in the metrics, the edges and the counters of pods of the one that leads: while they
// drain, when they have ended, once, and after the next upgrade only what nobody has shown before.
import { readdirSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import t, { type Test } from 'tap'
import type { Edge } from '../../mesh/telemetry/edge.ts'
import type { GenerationPage } from '../../ztunnel/admin-drain.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const GREETER_PORT = 9001
const BYTES = { first: 1000, second: 200, third: 30, fourth: 4 } as const

/** Sums over what n1 has counted of its callers. */
interface Counts {
  readonly opened: number
  readonly closed: number
  readonly received: number
}

async function countsOf(lab: MeshLab): Promise<Counts> {
  const { text } = await lab.admin('n1', '/metrics')
  const sum = (name: string): number =>
    [...text.matchAll(new RegExp(`^istio_tcp_${name}_total\\{reporter="source".*\\} (\\d+)$`, 'gm'))].reduce(
      (total, [, count]) => total + Number(count),
      0,
    )
  return {
    opened: sum('connections_opened'),
    closed: sum('connections_closed'),
    received: sum('received_bytes'),
  }
}

async function counted(t: Test, lab: MeshLab, wanted: Counts, what: string): Promise<void> {
  let seen: Counts | null = null
  await poll(what, async () => {
    seen = await countsOf(lab)
    return seen.closed >= wanted.closed || null
  }).catch(() => {})
  t.same(seen, wanted, what)
}

/** A stream that has sent so many bytes, which are counted when it ends. */
async function openStream(lab: MeshLab, bytes: number): Promise<LabSocket> {
  const stream = lab.connect('front', CART_IP, GREETER_PORT)
  await stream.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  const { length } = stream.text
  stream.write('x'.repeat(bytes))
  await stream.until('the echo', ({ text }) => text.length === length + bytes)
  return stream
}

/** One of the process that serves: for a moment the one before accepts as well. */
async function openNewStream(lab: MeshLab, bytes: number): Promise<LabSocket> {
  return await poll('a stream of the new process', async () => {
    const stream = await openStream(lab, bytes)
    const { text } = await lab.admin('n1', '/connections')
    const rows = JSON.parse(text) as readonly { readonly drainingPid?: number }[] // as: our API
    if (rows.some(({ drainingPid }) => drainingPid === undefined)) return stream
    stream.destroy() // counted there before the next upgrade, so that nobody shows it after that
    return null
  })
}

async function drainingCount(lab: MeshLab, count: number): Promise<void> {
  await poll(`${count} draining`, async () => {
    const answer = await lab.admin('n1', '/drain').catch(() => null)
    if (answer?.status !== 200) return null
    const page = JSON.parse(answer.text) as { readonly generations: readonly GenerationPage[] } // as: our API
    return page.generations.length === count || null
  }).catch((error: Error) => {
    throw new Error(`${error.message}\n${lab.log('n1')}`)
  })
}

/** The next data process leads, and so many others drain. */
async function upgraded(lab: MeshLab, draining: number): Promise<void> {
  const servings = (): number => lab.log('n1').split('data process ready').length
  const before = servings()
  lab.upgrade('n1')
  await poll('the next one', () => servings() > before || null)
  await drainingCount(lab, draining)
}

t.setTimeout(200_000)
t.test('what drains is counted', { timeout: 180_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]))
  t.teardown(() => lab.close())
  const first = await openStream(lab, BYTES.first)
  const second = await openStream(lab, BYTES.second)
  await upgraded(lab, 1)
  await counted(t, lab, { opened: 0, closed: 0, received: 0 }, 'a new process counts from zero')

  first.destroy()
  const ofFirst = { opened: 0, closed: 1, received: BYTES.first }
  await counted(t, lab, ofFirst, 'the end of a stream in the process that drains')
  const { text: edges } = await lab.admin('n1', '/edges')
  const source = (JSON.parse(edges) as readonly Edge[]).filter(({ reporter }) => reporter === 'source') // as: our API
  t.match(source, [{ receivedBytes: BYTES.first, source: { workload: 'front' } }], 'in the edges')
  const { text: pod } = await lab.admin('n1', '/pod?name=shop/front')
  t.match(pod, `"receivedBytes": ${BYTES.first}`, 'in the counters of the pod')
  await counted(t, lab, ofFirst, 'once, however often it is asked')

  const third = await openNewStream(lab, BYTES.third)
  await upgraded(lab, 2)
  await counted(t, lab, { opened: 0, closed: 0, received: 0 }, 'the next one shows nothing again')
  second.destroy()
  await drainingCount(lab, 1)
  const ofSecond = { opened: 0, closed: 1, received: BYTES.second }
  await counted(t, lab, ofSecond, 'the last count of a process that has ended with it')

  await t.test('also of a supervisor before', async (t) => {
    const fourth = await openNewStream(lab, BYTES.fourth)
    const replaced = await lab.startNext('n1')
    await poll('another supervisor', () => /the next supervisor serves/.test(lab.log('n1')) || null)
    await drainingCount(lab, 2)
    replaced.kill('SIGTERM')
    await counted(t, lab, { opened: 0, closed: 0, received: 0 }, 'nothing again')
    third.destroy()
    fourth.destroy()
    await drainingCount(lab, 0)
    const ofBoth = { opened: 0, closed: 2, received: BYTES.third + BYTES.fourth }
    await counted(t, lab, ofBoth, 'of two processes that have ended')
    const admin = lab.adminSocket('n1')
    const files = readdirSync(dirname(admin)).filter((name) => name.startsWith(`${basename(admin)}.counts-`))
    t.same(files, [], 'what was read is gone')
  })
})
