// SPDX-License-Identifier: Apache-2.0
// Tunnels on memory pairs, and handlers that write down what happens, for tests.
import type { Refusal } from '../../mesh/errors/refusal.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { H2Stream } from '../../mesh/h2/stream.ts'
import type { ConnectHandler } from '../../mesh/hbone/connect-attempt.ts'
import { TunnelClient, type TunnelHandler } from '../../mesh/hbone/tunnel-client.ts'
import {
  type InboundConnect,
  TunnelServer,
  type TunnelServerHandler,
} from '../../mesh/hbone/tunnel-server.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import {
  createMemoryPair,
  ManualScheduler,
  type MemoryStream,
  memoryBlock,
} from '../../mesh/reactor/memory-pair.ts'
import { RecordingHandler } from './byte-stream-contract.ts'

/** The outcome of a CONNECT. */
export class Outcome implements ConnectHandler {
  stream: H2Stream | null = null
  refusal: Refusal | null = null
  baggage = ''
  readonly record = new RecordingHandler()
  isInCall = false
  onConnected(stream: H2Stream, baggage: string): void {
    this.#check()
    this.stream = stream
    this.baggage = baggage
    stream.setHandler(this.record)
  }
  onRefused(refusal: Refusal): void {
    this.#check()
    this.refusal = refusal
  }
  get isDecided(): boolean {
    return this.stream !== null || this.refusal !== null
  }
  #check(): void {
    if (this.isInCall) throw new Error('the outcome was reported inside the call')
    if (this.isDecided) throw new Error('two outcomes')
  }
}

export class ServerSays implements TunnelServerHandler {
  readonly connects: InboundConnect[] = []
  readonly records: RecordingHandler[] = []
  readonly malformed: string[] = []
  reason: CloseReason | null = null
  /** What to do with a request, after its handler was set. */
  decide: (connect: InboundConnect) => void = (connect) => connect.accept('k8s.namespace.name=there')
  onConnect(connect: InboundConnect): void {
    const record = new RecordingHandler()
    connect.stream.setHandler(record)
    this.connects.push(connect)
    this.records.push(record)
    this.decide(connect)
  }
  onMalformed(refusal: Refusal, authority: string): void {
    this.malformed.push(`${refusal.code} ${authority}`)
  }
  onClosed(reason: CloseReason): void {
    if (this.reason !== null) throw new Error('closed twice')
    this.reason = reason
  }
}

export class ClientSays implements TunnelHandler {
  readonly events: string[] = []
  reason: CloseReason | null = null
  onReady(): void {
    this.events.push('ready')
  }
  onDraining(): void {
    this.events.push('draining')
  }
  onClosed(_tunnel: TunnelClient, reason: CloseReason): void {
    this.events.push('closed')
    this.reason = reason
  }
}

export function sharedResources(scheduler: ManualScheduler): SessionResources {
  return new SessionResources({ scheduler, allocateBlock: memoryBlock })
}

/** A client and a server end that have met. */
export function connectTunnel() {
  const scheduler = new ManualScheduler()
  const resources = sharedResources(scheduler)
  const transports: [MemoryStream, MemoryStream] = createMemoryPair(scheduler)
  const clientSays = new ClientSays()
  const serverSays = new ServerSays()
  const client = new TunnelClient({ transport: transports[0], resources, handler: clientSays })
  const server = new TunnelServer({ transport: transports[1], resources, handler: serverSays })
  scheduler.runUntilIdle()
  return { scheduler, resources, transports, client, server, clientSays, serverSays }
}
