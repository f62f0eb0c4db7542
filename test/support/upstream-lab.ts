// SPDX-License-Identifier: Apache-2.0
// A cluster on memory pairs: the test is the network and every endpoint, and moves the time.

import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { H2Session } from '../../mesh/h2/session.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { LocalSettings } from '../../mesh/h2/settings.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import type { ByteStream } from '../../mesh/reactor/byte-stream.ts'
import {
  createMemoryPair,
  ManualScheduler,
  type MemoryStream,
  memoryBlock,
} from '../../mesh/reactor/memory-pair.ts'
import {
  type UpstreamPolicy,
  UpstreamPolicySchema,
} from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { Cluster } from '../../waypoint/upstream/cluster.ts'
import type { ClusterView, EndpointView } from '../../waypoint/upstream/cluster-view.ts'
import type { OpenRequest } from '../../waypoint/upstream/open-attempt.ts'
import type { AttemptOutcome } from '../../waypoint/upstream/retry-policy.ts'
import type { TcpPlace, TcpRequest } from '../../waypoint/upstream/tcp-attempt.ts'
import type { UpstreamExchange } from '../../waypoint/upstream/upstream-exchange.ts'
import { RecordingHandler } from './byte-stream-contract.ts'
import { RecordingSession } from './h2-pair.ts'
import { get } from './http1-pair.ts'
import { RecordingHttpHeaders } from './recording-headers.ts'

export const OK_EMPTY = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'

export function endpoint(key: string, facts: Partial<EndpointView> = {}): EndpointView {
  return {
    key,
    ip: `10.0.0.${key.length}`,
    port: 8080,
    protocol: 'TCP',
    identity: '',
    node: 'n1',
    weight: 1,
    localityRank: 0,
    labels: {},
    ...facts,
  }
}

export function policy(init: MessageInitShape<typeof UpstreamPolicySchema>): UpstreamPolicy {
  return create(UpstreamPolicySchema, init)
}

export function view(endpoints: readonly EndpointView[], facts: Partial<ClusterView> = {}): ClusterView {
  return { name: 'shop/cart|80|', endpoints, policy: null, protocol: 'auto', gauges: null, ...facts }
}

/** A connect that the test accepts or refuses. */
export class LabDial {
  readonly endpoint: EndpointView
  isCancelled = false
  readonly #scheduler: ManualScheduler
  readonly #resources: SessionResources
  readonly #callback: (result: ByteStream | Refusal) => void

  constructor(lab: UpstreamLab, endpoint: EndpointView, callback: (result: ByteStream | Refusal) => void) {
    this.#scheduler = lab.scheduler
    this.#resources = lab.resources
    this.endpoint = endpoint
    this.#callback = callback
  }

  /** The far end as text. */
  accept(): TextServer {
    const [near, far] = createMemoryPair(this.#scheduler)
    const server = new TextServer(far, this.#scheduler)
    this.#scheduler.post({ fire: () => this.#callback(near) })
    this.#scheduler.runUntilIdle()
    return server
  }

  /** The far end speaks HTTP/2. */
  acceptHttp2(local: Partial<LocalSettings> = {}): Http2Server {
    const [near, far] = createMemoryPair(this.#scheduler)
    const says = new RecordingSession()
    says.onAccept = () => {}
    const options = {
      role: 'server',
      transport: far,
      resources: this.#resources,
      handler: says,
      local,
    } as const
    const session = new H2Session(options)
    this.#scheduler.post({ fire: () => this.#callback(near) })
    this.#scheduler.runUntilIdle()
    return { says, session, far }
  }

  refuse(refusal: Refusal = refuse('ENDPOINT_REFUSED')): void {
    this.#scheduler.post({ fire: () => this.#callback(refusal) })
    this.#scheduler.runUntilIdle()
  }
}

export interface Http2Server {
  readonly says: RecordingSession
  readonly session: H2Session
  readonly far: MemoryStream
}

/** An endpoint that is read and written as text. */
export class TextServer {
  readonly record = new RecordingHandler()
  readonly far: MemoryStream
  readonly #scheduler: ManualScheduler

  constructor(far: MemoryStream, scheduler: ManualScheduler) {
    this.far = far
    this.#scheduler = scheduler
    far.setHandler(this.record)
  }

  /** What came since the last call. */
  take(): string {
    const text = this.record.text()
    this.record.chunks.length = 0
    return text
  }

  send(text: string): void {
    const block = memoryBlock(text.length)
    block.bytes.write(text, 'latin1')
    this.far.write(block, 0, text.length)
    this.#scheduler.runUntilIdle()
  }

  end(): void {
    this.far.end()
    this.#scheduler.runUntilIdle()
  }

  reset(): void {
    this.far.destroy({ code: 'PEER_RESET', detail: '' })
    this.#scheduler.runUntilIdle()
  }
}

/** What became of an open. */
export class Opened {
  stream: HttpStream | null = null
  exchange: UpstreamExchange | null = null
  refusal: Refusal | null = null
  refusedBy: EndpointView | null = null
  /** Of an exchange without an answer. */
  outcome: AttemptOutcome | null = null
  outcomes = 0
  readonly record = new RecordingHandler()
  readonly answers = new RecordingHttpHeaders()
  handle: Cancellable | null = null
  /** Called with the stream, at its begin. */
  onBegun: (stream: HttpStream) => void = () => {}

  /** Status of the answer. */
  get status(): string {
    return this.answers.lists.at(-1)?.[1] ?? ''
  }
  get code(): string {
    return this.refusal?.code ?? ''
  }
  get key(): string {
    return this.exchange?.endpoint.key ?? ''
  }
}

/** What became of a connect. */
export class Connected {
  transport: ByteStream | null = null
  place: TcpPlace | null = null
  refusedBy: EndpointView | null = null
  /** Key of the endpoint, or a reason code. */
  outcome = ''
  handle: Cancellable | null = null
}

export interface LabOptions {
  readonly random?: () => number
  /** Ends exchanges when their stream closes, as the owner of a request does. Default true. */
  readonly endsExchanges?: boolean
}

export class UpstreamLab {
  readonly scheduler = new ManualScheduler()
  readonly resources = new SessionResources({ scheduler: this.scheduler, allocateBlock: memoryBlock })
  readonly dials: LabDial[] = []
  readonly cluster: Cluster
  readonly #endsExchanges: boolean

  constructor(first: ClusterView, options: LabOptions = {}) {
    this.#endsExchanges = options.endsExchanges ?? true
    this.cluster = new Cluster({
      view: first,
      resources: this.resources,
      random: options.random ?? (() => 0),
      dial: (to, callback) => {
        const dial = new LabDial(this, to, callback)
        this.dials.push(dial)
        return {
          cancel: () => {
            dial.isCancelled = true
          },
        }
      },
    })
  }

  /** The connect of that index; it must have begun. */
  dial(index: number): LabDial {
    const dial = this.dials[index]
    if (dial === undefined) throw new Error(`no connect ${index}`)
    return dial
  }

  /** Asks for a stream, without a turn. */
  ask(facts: Partial<OpenRequest> = {}): Opened {
    const opened = new Opened()
    let isInCall = true
    const request: OpenRequest = {
      ...{ headers: get('/'), isEnd: true, version: 'http1' },
      ...{ hash: null, exclude: null, stickyKey: null, askedIp: null },
      ...facts,
    }
    opened.handle = this.cluster.open(request, {
      onStream: (stream, exchange) => {
        if (isInCall) throw new Error('an outcome inside the call')
        opened.outcomes++
        opened.stream = stream
        opened.exchange = exchange
        stream.headersHandler = opened.answers
        stream.setHandler({
          onData: (block, start, end) => opened.record.onData(block, start, end),
          onEnd: () => opened.record.onEnd(),
          onDrain: () => opened.record.onDrain(),
          onClose: (reason) => {
            opened.record.onClose(reason)
            if (!this.#endsExchanges) return
            if (opened.status === '') opened.outcome = exchange.failed(reason)
            else exchange.answered(Number(opened.status), null)
            exchange.end()
          },
        })
        opened.onBegun(stream)
      },
      onRefused: (refusal, by) => {
        if (isInCall) throw new Error('an outcome inside the call')
        opened.outcomes++
        opened.refusal = refusal
        opened.refusedBy = by
      },
    })
    isInCall = false
    return opened
  }

  /** Asks for a connection without HTTP, without a turn. */
  connect(facts: Partial<TcpRequest> = {}): Connected {
    const connected = new Connected()
    connected.handle = this.cluster.connect(
      { hash: null, askedIp: null, ...facts },
      {
        onConnected: (transport, place) => {
          transport.setHandler(new RecordingHandler())
          connected.transport = transport
          connected.place = place
          connected.outcome += place.endpoint.key
        },
        onRefused: ({ code }, by) => {
          connected.refusedBy = by
          connected.outcome += code
        },
      },
    )
    return connected
  }

  /** Asks, and lets everything happen that needs no time. */
  open(facts: Partial<OpenRequest> = {}): Opened {
    const opened = this.ask(facts)
    this.run()
    return opened
  }

  run(): void {
    this.scheduler.runUntilIdle()
  }

  /** Everything is closed: nothing may be left. */
  leftovers(): string[] {
    this.cluster.close({ code: 'SHUTDOWN', detail: '' })
    this.run()
    this.scheduler.advance(60_000)
    const { connections, pending, requests, retries, draining } = this.cluster.status()
    const counts = { connections, pending, requests, retries, draining: draining.length }
    const left = Object.entries({ ...counts, timers: this.scheduler.timerCount }).filter(
      ([, count]) => count !== 0,
    )
    return left.map(([name, count]) => `${name} ${count}`)
  }
}
