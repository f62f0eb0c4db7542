// SPDX-License-Identifier: Apache-2.0
// Real workers of a data process with one pod on this machine's own address, reached by SOCKS5, and the test as
// their main thread.
import { once } from 'node:events'
import { connect } from 'node:net'
import { pino } from 'pino'
import type { Test } from 'tap'
import { FAILED } from '../../mesh/telemetry/counters.ts'
import { readConfig, type ZtunnelConfig } from '../../ztunnel/config.ts'
import { PodSockets } from '../../ztunnel/supervisor/pod-sockets.ts'
import type { ReportKind, UpMessage, WorkerReports } from '../../ztunnel/worker-messages.ts'
import { WorkerSet } from '../../ztunnel/worker-set.ts'
import { poll } from './mesh-lab.ts'

const PATHS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x', '--socks5']
const { options: config } = readConfig(PATHS, {})
/** Ports are the mesh's own: an address of this process alone keeps runs apart. */
export const ADDRESS = `127.${(process.pid >> 16) & 127}.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}`
const POD = {
  uid: 'u',
  name: 'cart',
  namespace: 'shop',
  serviceAccount: 'cart',
  netns: null,
  address: ADDRESS,
}
// SPEC RFC1928: no authentication, then CONNECT 10.0.0.1:80; an unconfigured pod may not connect anywhere.
export const GREETING = Buffer.from([5, 1, 0])
const REQUEST = Buffer.from([5, 1, 0, 1, 10, 0, 0, 1, 0, 80])

/** Workers that serve the pod, with what they said. */
export class WorkerLab {
  readonly started: number[] = []
  readonly heard: { readonly worker: number; readonly message: UpMessage }[] = []
  readonly logged: Readonly<Record<string, unknown>>[] = []
  readonly sockets = PodSockets.open(POD, config)
  readonly set: WorkerSet
  /** Hears what workers were asked for. */
  onReport: (worker: number, request: number, answer: WorkerReports[ReportKind]) => void = () => {}

  constructor(t: Test, options: Partial<ZtunnelConfig> = {}) {
    const log = pino({}, { write: (line: string) => void this.logged.push(JSON.parse(line)) })
    this.set = new WorkerSet({ ...config, ...options }, log, {
      onMessage: (worker, message) => this.#onMessage(worker, message),
      onStarted: (worker) => this.#onStarted(worker),
      isKnown: () => false,
    })
    t.teardown(async () => {
      await this.set.stop('SHUTDOWN')
      this.sockets.close()
    })
  }

  #onMessage(worker: number, message: UpMessage): void {
    this.heard.push({ worker, message })
    if (message.type === 'report') this.onReport(worker, message.request, message.answer)
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
      ...{ listeners: this.sockets.listeners, inbound: null, account: this.set.accounts.open(uid, 1) },
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
