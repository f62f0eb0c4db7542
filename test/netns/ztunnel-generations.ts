// SPDX-License-Identifier: Apache-2.0
// The data process is replaced under its supervisor, and the supervisor by another one, while streams are open and new
// connections come. Real processes, observed from outside only.
import type { ChildProcess } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { ConnectionRow } from '../../cli/commands/tables.ts'
import { MAX_DRAINING_GENERATIONS } from '../../mesh/generations/generation-state.ts'
import type { GenerationPage } from '../../ztunnel/admin-drain.ts'
import { ask, Caller } from '../support/lab-caller.ts'
import { labDirectory } from '../support/lab-directory.ts'
import type { LoadReport } from '../support/load-agent.ts'
import { type LabNode, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { PodLoad } from '../support/pod-load.ts'

const CART_IP = '10.2.0.1'
const GREETER_PORT = 9001
const TO = { ip: CART_IP, port: GREETER_PORT }
const NODES: readonly LabNode[] = ['n1', 'n2']
const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** Four processes: 500 streams, and 500 connections a second if the machine gives them. */
const AGENTS = ['front', 'front', 'batch', 'batch'] as const
const STREAMS_EACH = 125
const CONNECTS_EACH = 125
/** More than a node's drain time in the lab and what its processes get beyond it. */
const NODE_END_MS = 6000
/** A next supervisor that is too slow under this load gives up after 20 s, and asks again ten seconds later. */
const ASKED_AGAIN_MS = 120_000
/** Connections that are made after each change, by the old and the new processes. */
const CONNECTS_AFTER = 1500
/** A process that never says it is ready is given up after 20 s. */
const GIVEN_UP_MS = 40_000
const MAX_FAILED_STARTS = 3

t.setTimeout(420_000)

async function openLab(t: Test, options: Readonly<Record<string, string>> = {}): Promise<MeshLab> {
  t.setTimeout(300_000)
  const lab = await MeshLab.start(labDirectory(t), labMesh([]), options)
  t.teardown(() => lab.close())
  return lab
}

const wholeLog = (lab: MeshLab, node: LabNode): string =>
  readFileSync(join(lab.directory, `${node}.log`), 'utf8')

async function logged(lab: MeshLab, node: LabNode, text: RegExp, deadlineMs?: number): Promise<void> {
  const isThere = (): true | null => text.test(wholeLog(lab, node)) || null
  await poll(`${text} in the log of ${node}`, isThere, deadlineMs).catch((error: Error) => {
    throw new Error(`${error.message}\n${lab.log(node)}`)
  })
}

/** Under this load a start may take longer than it is given: then nothing has happened, and it is asked for again. */
async function upgraded(t: Test, lab: MeshLab, node: LabNode): Promise<void> {
  for (let failures = 0; failures < MAX_FAILED_STARTS; failures++) {
    lab.upgrade(node)
    const log = await poll(
      'an upgrade, or its failure',
      () => {
        const text = wholeLog(lab, node)
        const isOver = text.includes('the data process before drains')
        return isOver || text.split('HANDOVER_FAILED').length - 1 > failures ? text : null
      },
      GIVEN_UP_MS,
    )
    if (log.includes('the data process before drains')) return
    t.comment(`${node} is too busy to start the next one in time`)
  }
  throw new Error(`no upgrade of ${node}\n${lab.log(node)}`)
}

/** What drains on a node; null while nobody answers. */
async function draining(lab: MeshLab, node: LabNode): Promise<readonly GenerationPage[] | null> {
  const answer = await lab.admin(node, '/drain').catch(() => null)
  if (answer === null || answer.status !== 200) return null
  return (JSON.parse(answer.text) as { readonly generations: readonly GenerationPage[] }).generations // as: our API
}

async function drainingCount(lab: MeshLab, node: LabNode, count: number): Promise<readonly GenerationPage[]> {
  return await poll(`${count} draining on ${node}`, async () => {
    const found = await draining(lab, node)
    return found?.length === count ? found : null
  }).catch((error: Error) => {
    throw new Error(`${error.message}\n${lab.log(node)}`)
  })
}

async function metric(lab: MeshLab, name: string): Promise<number> {
  const { text } = await lab.admin('n1', '/metrics')
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
}

/** Those to the streams' server. */
async function connections(lab: MeshLab, node: LabNode): Promise<readonly ConnectionRow[]> {
  const { text } = await lab.admin(node, '/connections')
  const all = JSON.parse(text) as readonly ConnectionRow[] // as: our API
  return all.filter(({ destination }) => destination === `${CART_IP}:${GREETER_PORT}`)
}

async function openStream(lab: MeshLab): Promise<LabSocket> {
  const stream = lab.connect('front', CART_IP, GREETER_PORT)
  await stream.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  return stream
}

/** A stream of the generation that serves: for a moment the one before accepts as well. */
async function openNewStream(lab: MeshLab): Promise<LabSocket> {
  return await poll('a stream of the new generation', async () => {
    const stream = await openStream(lab)
    if ((await connections(lab, 'n1')).some(({ drainingPid }) => drainingPid === undefined)) return stream
    stream.end()
    return null
  })
}

async function echoes(stream: LabSocket, text: string): Promise<void> {
  const { length } = stream.text
  stream.write(text)
  await stream.until('the echo', (socket) => socket.text.slice(length) === text)
}

const isGone = async (pid: number): Promise<void> =>
  void (await poll(`the end of ${pid}`, () => !existsSync(`/proc/${pid}`) || null))

/** What a process has to itself. */
function ownMemoryKib(pid: number): number {
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

/** The records of connections that failed. */
function failedRecords(lab: MeshLab): string {
  const lines = NODES.flatMap((node) =>
    readFileSync(join(lab.directory, 'records', node), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.includes('"reason":"OK"'))
      .map((line) => `${node} ${line}`),
  )
  return lines.slice(0, 20).join('\n')
}

/** Waits for so many connections more; says how many there were a second. */
async function connectsMore(t: Test, lab: MeshLab, load: PodLoad, what: string): Promise<void> {
  const startMs = performance.now()
  const { connects: known } = await load.tell({ type: 'report' })
  const report = await poll(what, async () => {
    const now: LoadReport = await load.tell({ type: 'report' })
    return now.failures.length > 0 || now.connects >= known + CONNECTS_AFTER ? now : null
  })
  t.same(report.failures, [], what, { records: failedRecords(lab) })
  const perSecond = (report.connects - known) / ((performance.now() - startMs) / 1000)
  t.comment(`${what}: ${perSecond.toFixed(0)} new connections a second, ${report.openStreams} streams`)
}

t.test('500 streams and new connections go through both kinds of upgrade', async (t) => {
  const lab = await openLab(t)
  const load = new PodLoad(lab, AGENTS)
  t.teardown(() => load.close())
  await load.tell({ type: 'open', streams: STREAMS_EACH, ...TO })
  await load.tell({ type: 'connect', perSecond: CONNECTS_EACH, ...TO })
  await connectsMore(t, lab, load, 'before')
  const first = lab.dataPids('n1')[0] ?? -1
  const memory = { withLoad: ownMemoryKib(first), atLast: Number.POSITIVE_INFINITY }

  await Promise.all(NODES.map((node) => upgraded(t, lab, node)))
  memory.withLoad = Math.max(memory.withLoad, ownMemoryKib(first))
  await connectsMore(t, lab, load, 'after the change of generations')
  for (const node of NODES) {
    const before = await poll('new connections have ended', async () => {
      const [found] = await drainingCount(lab, node, 1)
      return found !== undefined && found.connectionCount <= AGENTS.length * STREAMS_EACH ? found : null
    })
    t.equal(before.connectionCount, AGENTS.length * STREAMS_EACH, 'the streams are what it waits for')
    t.equal(before.connections.length, AGENTS.length * STREAMS_EACH, 'each is named')
    const pods = new Set(before.connections.map(({ pod }) => pod))
    t.same([...pods].toSorted(), node === 'n1' ? ['shop/batch', 'shop/front'] : ['shop/cart'])
  }
  t.equal((await drainingCount(lab, 'n1', 1))[0]?.pid, first)
  const seen = (await connections(lab, 'n1')).filter(({ drainingPid }) => drainingPid === first)
  t.equal(seen.length, AGENTS.length * STREAMS_EACH, 'each is seen among the connections of the node')

  await load.tell({ type: 'open', streams: STREAMS_EACH / 5, ...TO })
  const replaced: ChildProcess[] = []
  for (const node of NODES) replaced.push(await lab.startNext(node))
  for (const node of NODES) await logged(lab, node, /the next supervisor serves/, ASKED_AGAIN_MS)
  // As a cluster does once the next one is ready. Both drain times of a node that ends are over after these connections.
  for (const supervisor of replaced) supervisor.kill('SIGTERM')
  const told = performance.now()
  await connectsMore(t, lab, load, 'after the hand-over to the next supervisors')
  await wait(Math.max(0, told + NODE_END_MS - performance.now()))
  for (const { exitCode, signalCode } of replaced)
    t.same([exitCode, signalCode], [null, null], 'who was replaced stays with its connections')
  const counts = (await drainingCount(lab, 'n1', 2)).map(({ connectionCount }) => connectionCount)
  t.same(counts.toSorted(), [100, 500], 'those of both generations before')

  await load.tell({ type: 'connect', perSecond: 0, ...TO })
  await poll('memory is given back', () => {
    memory.atLast = ownMemoryKib(first)
    return memory.atLast < memory.withLoad || null
  }).catch(() => null)
  t.ok(memory.atLast < memory.withLoad, `${memory.withLoad} KiB, then ${memory.atLast} KiB while it drains`)
  const pids = (await Promise.all(NODES.map((node) => drainingCount(lab, node, 2)))).flat()
  const report = await load.tell({ type: 'finish' })
  t.same(report.failures, [], `of ${report.connects} connections and 600 streams`)
  t.equal(report.equalStreams, 600, `${report.streamBytes} bytes came back as they were sent`)
  for (const { pid } of pids) await isGone(pid)
  for (const node of NODES) await drainingCount(lab, node, 0)
  for (const supervisor of replaced)
    t.equal(await poll('its end', () => supervisor.exitCode), 0, 'and ends with the last of them')
})

t.test('a next data process that breaks, or never serves, changes nothing', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sidestep-versions-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const current = join(directory, 'current')
  const install = (root: string): void => {
    if (existsSync(current)) unlinkSync(current)
    symlinkSync(root, current)
  }
  install(ROOT)
  for (const [name, text] of [
    ['broken', 'process.exit(3)'],
    ['silent', 'setInterval(() => {}, 1000)'],
  ] as const) {
    await mkdir(join(directory, 'versions', name, 'ztunnel'), { recursive: true })
    writeFileSync(join(directory, 'versions', name, 'ztunnel', 'main.ts'), text)
  }
  const lab = await openLab(t, { SIDESTEP_DATA_PROGRAM: join(current, 'ztunnel', 'main.ts') })
  const stream = await openStream(lab)
  const caller = new Caller(lab)
  const serving = lab.dataPids('n1')
  for (const [index, version] of ['broken', 'silent'].entries()) {
    install(join(directory, 'versions', version))
    lab.upgrade('n1')
    await poll(
      `${version} is given up`,
      () => (wholeLog(lab, 'n1').match(/HANDOVER_FAILED/g) ?? []).length > index || null,
      GIVEN_UP_MS,
    )
    await poll('it is gone', () => lab.dataPids('n1').length === 1 || null)
    t.same(lab.dataPids('n1'), serving)
    await caller.calls(10)
    t.equal(await metric(lab, 'sidestep_upgrades_failed_total'), index + 1)
  }
  install(ROOT)
  t.equal((await lab.admin('n1', '/upgrade', 'POST')).status, 200)
  const again = await lab.admin('n1', '/upgrade', 'POST')
  t.same([again.status, again.text], [409, 'an upgrade is under way\n'])
  await drainingCount(lab, 'n1', 1)
  await caller.calls(10)
  await echoes(stream, 'still here')
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
})

t.test('generations that drain live and die by themselves', async (t) => {
  const lab = await openLab(t)
  const caller = new Caller(lab)
  const streams: LabSocket[] = []
  const pids: number[] = []
  for (let count = 1; count <= MAX_DRAINING_GENERATIONS; count++) {
    streams.push(await openNewStream(lab))
    pids.push(lab.dataPids('n1').at(-1) ?? -1)
    lab.upgrade('n1')
    await drainingCount(lab, 'n1', count)
  }
  t.equal(await metric(lab, 'sidestep_draining_generations'), MAX_DRAINING_GENERATIONS)

  // Killed: only its own stream is lost.
  process.kill(pids[1] ?? -1, 'SIGKILL')
  await streams[1]?.until('its end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
  await logged(lab, 'n1', /GENERATION_LOST/)
  await drainingCount(lab, 'n1', MAX_DRAINING_GENERATIONS - 1)
  t.equal(await metric(lab, 'sidestep_generations_lost_total'), 1)
  for (const index of [0, 2, 3]) await echoes(streams[index] as LabSocket, 'still here') // as: it was opened above

  // One too many: the oldest is cut.
  for (let more = 0; more < 2; more++) {
    streams.push(await openNewStream(lab))
    lab.upgrade('n1')
    await drainingCount(lab, 'n1', MAX_DRAINING_GENERATIONS)
  }
  await logged(lab, 'n1', /"reason":"DRAIN".*the oldest is cut/)
  await streams[0]?.until('its end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
  await isGone(pids[0] ?? -1)
  await caller.calls(10)

  // Their supervisor dies: they go on, and so does who serves.
  await lab.killSupervisor('n1')
  await lab.revive('n1')
  await logged(lab, 'n1', /data process taken over/)
  for (const index of [2, 3, 4, 5]) await echoes(streams[index] as LabSocket, 'and here') // as: it was opened above
  t.equal((await drainingCount(lab, 'n1', MAX_DRAINING_GENERATIONS)).length, MAX_DRAINING_GENERATIONS)
  for (const stream of streams) stream.end()
  await drainingCount(lab, 'n1', 0)
  t.match(await ask(lab), /200 OK/)
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
})
