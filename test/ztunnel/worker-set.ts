// SPDX-License-Identifier: Apache-2.0
// Real workers with one pod on this machine's own address, reached by SOCKS5. A worker dies of a message that no
// main thread sends.
import { once } from 'node:events'
import { connect } from 'node:net'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { FAILED } from '../../mesh/telemetry/counters.ts'
import { readConfig } from '../../ztunnel/config.ts'
import { PodSockets } from '../../ztunnel/supervisor/pod-sockets.ts'
import type { DownMessage, UpMessage } from '../../ztunnel/worker-messages.ts'
import { WorkerSet } from '../../ztunnel/worker-set.ts'
import { poll } from '../support/mesh-lab.ts'

const PATHS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x', '--socks5']
const { options: config } = readConfig(PATHS, {})
const ADDRESS = `127.${(process.pid >> 16) & 127}.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}`
const POD = {
  uid: 'u',
  name: 'cart',
  namespace: 'shop',
  serviceAccount: 'cart',
  netns: null,
  address: ADDRESS,
}
// SPEC RFC1928: no authentication, then CONNECT 10.0.0.1:80; an unconfigured pod may not connect anywhere.
const GREETING = Buffer.from([5, 1, 0])
const REQUEST = Buffer.from([5, 1, 0, 1, 10, 0, 0, 1, 0, 80])
const FATAL = null as unknown as DownMessage // as: a defect

/** Workers that serve the pod, with what they said. */
class Lab {
  readonly started: number[] = []
  readonly heard: { readonly worker: number; readonly message: UpMessage }[] = []
  readonly logged: Readonly<Record<string, unknown>>[] = []
  readonly sockets = PodSockets.open(POD, config)
  readonly set: WorkerSet

  constructor(t: Test) {
    const log = pino({}, { write: (line: string) => void this.logged.push(JSON.parse(line)) })
    this.set = new WorkerSet(config, log, {
      onMessage: (worker, message) => this.#onMessage(worker, message),
      onStarted: (worker) => this.#onStarted(worker),
    })
    t.teardown(async () => {
      await this.set.stop('SHUTDOWN')
      this.sockets.close()
    })
  }

  #onMessage(worker: number, message: UpMessage): void {
    this.heard.push({ worker, message })
    if (message.type !== 'resolve') return
    const { uid, ip, port } = message
    const nothing = { service: null, candidates: [], waypoints: [], refusal: null }
    this.set.post(worker, {
      ...{ type: 'destination', uid },
      view: { ...nothing, kind: 'passthrough', modelVersion: 1, ip, port },
    })
  }

  #onStarted(worker: number): void {
    this.started.push(worker)
    const { uid, name, namespace, serviceAccount } = POD
    this.set.post(worker, {
      ...{ type: 'pod', pod: { uid, name, namespace, serviceAccount }, number: 1, namespaceFd: null },
      ...{ listeners: this.sockets.listeners, inbound: null },
    })
  }

  count(type: UpMessage['type'], worker?: number): number {
    return this.heard.filter((each) => each.message.type === type && (worker ?? each.worker) === each.worker)
      .length
  }
  async serving(): Promise<void> {
    const expected = this.started.length
    await poll('served', () => this.count('pod-ready') === expected || null)
  }
  get failures(): number {
    return [...this.set.counters.sums(FAILED).values()].reduce((sum, each) => sum + each, 0)
  }

  /** Asks for a connection through the pod and waits for the refusal. */
  async ask(): Promise<void> {
    const socket = connect(15_080, ADDRESS)
    const closed = once(socket, 'close')
    socket.on('error', () => {}) // a reset is a refusal too
    socket.write(GREETING)
    await Promise.race([once(socket, 'data'), closed])
    socket.write(REQUEST)
    await closed
  }
}

t.test('all workers start, are told apart, and answer', async (t) => {
  const lab = new Lab(t)
  lab.set.start()
  t.same(lab.started, [0, 1])
  t.equal(lab.set.count, 2)
  await lab.serving()
  lab.set.post(1, { type: 'report-connections', request: 7 })
  await poll('an answer', () => lab.count('connections') > 0 || null)
  t.match(lab.heard.at(-1), { worker: 1, message: { type: 'connections', request: 7 } })
  lab.set.broadcast({ type: 'report-connections', request: 8 })
  await poll(
    'answers',
    () => (lab.count('connections', 0) === 1 && lab.count('connections', 1) === 2) || null,
  )
  t.equal(lab.count('labels'), 0, 'labels are its own business')
  t.equal(lab.set.droppedMessageCount, 0)
  for (const descriptors of lab.set.descriptorCounts) t.ok(descriptors > 0)
})

t.test('a worker that dies is replaced, told everything again, and what was counted stays', async (t) => {
  const lab = new Lab(t)
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
  const lab = new Lab(t)
  lab.set.start()
  await lab.serving()
  lab.set.post(0, FATAL)
  await poll('lost', () => lab.set.lostCount === 1 || null)
  t.equal(lab.set.descriptorCounts[0], 0)
  lab.set.post(0, { type: 'trim-memory' })
  await lab.ask()
  t.ok(lab.started.length <= 3)
})

t.test('a stopped set loses nobody and replaces nobody', async (t) => {
  const lab = new Lab(t)
  lab.set.start()
  await lab.serving()
  lab.set.post(0, FATAL)
  await poll('lost', () => lab.set.lostCount === 1 || null)
  await lab.set.stop('SHUTDOWN')
  await new Promise((resolve) => setTimeout(resolve, 150)) // longer than a replacement would wait
  t.same(lab.started, [0, 1])
  t.equal(lab.set.lostCount, 1)
})
