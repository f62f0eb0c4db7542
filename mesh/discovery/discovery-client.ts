// SPDX-License-Identifier: Apache-2.0
// Follows a controller: one stream at a time, the next one somewhere else when it ends, with growing pauses. While there
// is none, what was learned stays in force.
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from '../../proto/generated/envoy/discovery_pb.js'
import { MeshError } from '../errors/mesh-error.ts'
import type { GrpcClientOptions } from '../grpc/client.ts'
import { type ClientStream, openClientStream } from '../grpc/stream-client.ts'
import type { MeshConfig } from '../model/mesh-state.ts'
import { Backoff } from '../runtime/backoff.ts'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { DeltaClient, type DiscoveryNode, type RawResources, type RefusedResource } from './delta-client.ts'
import type { Demand } from './demand.ts'
import type { DiscoveryJournal } from './discovery-journal.ts'
import { ADDRESS_TYPE, DELTA_PATH } from './protocol.ts'

/** Wait for a connection to a controller: as Istio's ztunnel. SPEC XDS §1.1. */
const CONNECT_TIMEOUT_MS = 5_000
const BACKOFF_INITIAL_MS = 10
/** Longest pause before the next controller is dialled: as Istio's ztunnel. */
const BACKOFF_MAX_MS = 15_000
/** A stream that lived so long was a good one: the next pause is the first again. */
const GOOD_STREAM_MS = 10_000
/** A controller that has not told all by then is not waited for when there is a saved configuration. */
const SNAPSHOT_WAIT_MS = 1_000

/** How often it is looked for addresses that nobody uses any more. */
const EXPIRY_CHECK_MS = 60_000

/** gRPC: INVALID_ARGUMENT, UNIMPLEMENTED: the server does not like what it was asked. */
const REQUEST_REFUSED = [3, 12]

/** What is asked for when not everything is, and who hears of it. */
export interface DiscoveryDemand {
  readonly keys: Demand
  /** Something was answered; what it changed was told by `onConfig` before. */
  readonly onAnswers: () => void
  /** Addresses are about to be given back: who uses them without asking should ask. */
  readonly onAgeing: () => void
}

/** What a client is made of. */
export interface DiscoveryClientOptions {
  /** `host:port` of every controller; asked in turn from a random one on. */
  readonly addresses: readonly string[]
  readonly node: DiscoveryNode
  /** Read for every stream: tokens are renewed in place. @throws when there is none. */
  readonly credentials: () => Promise<{
    readonly connection: Omit<GrpcClientOptions, 'address'>
    readonly headers: Readonly<Record<string, string>>
  }>
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  /** A complete configuration; called again after every change. `raw` has the resources of `rawTypes`, valid during the call. */
  readonly onConfig: (config: MeshConfig, raw: RawResources) => void
  /** Types that the configuration has beside those of every proxy; they are held encoded. */
  readonly rawTypes?: readonly string[]
  /** Revocation lists of the trust domain as they came, DER each, unverified. */
  readonly onRevocations?: (lists: readonly Buffer[]) => void
  /** What is asked for when not everything is. */
  readonly demand?: DiscoveryDemand
  /** Keeps the configuration for a start without a controller. */
  readonly journal?: DiscoveryJournal
}

/** The state for people. */
export interface DiscoveryStatus {
  readonly address: string
  readonly isConnected: boolean
  /** So long no controller has answered; null while one does. */
  readonly disconnectedMs: number | null
  /** Epoch ms of the last response; NaN before the first. */
  readonly lastResponseMs: number
  /** Why the last stream ended; '' while there was none. */
  readonly lastFailure: string
  readonly refused: readonly RefusedResource[]
  /** Where the configuration in force is from. */
  readonly configuration: 'none' | 'snapshot' | 'controller'
  /** When a controller last confirmed the saved configuration, epoch ms; NaN unless that one is in force. */
  readonly snapshotMs: number
}

/** stopped → (reads what was saved →) connecting ⇄ streaming → stopped. */
export class DiscoveryClient {
  readonly #options: DiscoveryClientOptions
  #state: DeltaClient
  readonly #backoff: Backoff
  readonly #refused = new Map<string, RefusedResource>()
  #stream: ClientStream | null = null
  #timer: ClockTimer | null = null
  #expiry: ClockTimer | null = null
  #next: number
  #isStopped = true
  /** Of the clock's passedMs; null while a controller answers. */
  #disconnectedAtMs: number | null
  #lastResponseMs = Number.NaN
  #lastFailure = ''
  #told: DiscoveryStatus['configuration'] = 'none'
  /** Something changed that has not been told. */
  #isUntold = false
  /** Of the saved configuration that was read; NaN without one. */
  #snapshotMs = Number.NaN
  #snapshotTimer: ClockTimer | null = null
  /** The current stream was asked for what comes after the configuration. */
  #hasAskedLater = false
  /** Controllers that ended a stream because of that: they are asked no more. */
  readonly #plainAddresses = new Set<string>()

  constructor(options: DiscoveryClientOptions) {
    this.#options = options
    this.#state = new DeltaClient(options.node, options.rawTypes)
    this.#disconnectedAtMs = options.clock.passedMs
    const { random } = options
    this.#backoff = new Backoff({ initialMs: BACKOFF_INITIAL_MS, maxMs: BACKOFF_MAX_MS, random })
    this.#next = Math.floor(random() * options.addresses.length)
  }

  start(): void {
    this.#isStopped = false
    this.#expireLater()
    void this.#begin()
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
    this.#expiry?.cancel()
    this.#snapshotTimer?.cancel()
    this.#stream?.close()
    this.#stream = null
    this.#disconnected()
  }

  status(): DiscoveryStatus {
    const atMs = this.#disconnectedAtMs
    return {
      address: this.#address,
      isConnected: atMs === null,
      disconnectedMs: atMs === null ? null : this.#options.clock.passedMs - atMs,
      lastResponseMs: this.#lastResponseMs,
      lastFailure: this.#lastFailure,
      refused: [...this.#refused.values()],
      configuration: this.#told,
      snapshotMs: this.#told === 'snapshot' ? this.#snapshotMs : Number.NaN,
    }
  }

  get #address(): string {
    const { addresses } = this.#options
    return addresses[this.#next % addresses.length] ?? ''
  }

  /** What was saved is read first: the controller need not send it again. It is in force when nobody says better. */
  async #begin(): Promise<void> {
    const { journal, node, rawTypes, clock } = this.#options
    if (journal !== undefined) {
      const state = new DeltaClient(node, rawTypes)
      const savedMs = await journal.read((bytes) => {
        this.#noteRefused(state.restore(fromBinary(DeltaDiscoveryResponseSchema, bytes)).refused)
      })
      if (this.#isStopped) return
      if (savedMs === null) this.#refused.clear()
      else {
        this.#state = state
        this.#snapshotMs = savedMs
        this.#snapshotTimer = clock.startTimer(SNAPSHOT_WAIT_MS, () => this.#useSnapshot())
      }
    }
    await this.#connect()
  }

  #useSnapshot(): void {
    if (this.#isStopped || this.#told !== 'none' || Number.isNaN(this.#snapshotMs) || !this.#state.isComplete)
      return
    const { clock, log } = this.#options
    this.#told = 'snapshot'
    const ageSeconds = Math.round((clock.nowMs - this.#snapshotMs) / 1000)
    log.warn({ ageSeconds }, 'no controller answers: the saved configuration is in force')
    this.#options.onConfig(this.#state.config(), this.#state.raw)
  }

  async #connect(): Promise<void> {
    const { credentials, clock } = this.#options
    const address = this.#address
    const startedMs = clock.passedMs
    try {
      const { connection, headers } = await credentials()
      if (this.#isStopped) return
      const stream = openClientStream({ ...connection, address }, DELTA_PATH, headers, CONNECT_TIMEOUT_MS, {
        onMessage: (bytes) => this.#onMessage(stream, bytes),
        onClose: (code, details) => {
          if (this.#hasAskedLater && REQUEST_REFUSED.includes(code)) this.#plainAddresses.add(address)
          this.#onClose(`${address}: ${code} ${details}`, startedMs)
        },
      })
      this.#stream = stream
      this.#hasAskedLater = false
      for (const greeting of this.#state.greetings(this.#options.demand?.keys.greeting() ?? null))
        stream.write(toBinary(DeltaDiscoveryRequestSchema, greeting))
      this.#askLater(stream)
    } catch (cause) {
      const detail = cause instanceof MeshError ? cause.message : String(cause)
      if (!this.#isStopped) this.#onClose(detail, startedMs)
    }
  }

  #askLater(stream: ClientStream): void {
    if (this.#hasAskedLater || !this.#state.isConfirmed || this.#plainAddresses.has(this.#address)) return
    this.#hasAskedLater = true
    for (const greeting of this.#state.laterGreetings())
      stream.write(toBinary(DeltaDiscoveryRequestSchema, greeting))
  }

  #onMessage(stream: ClientStream, bytes: Buffer): void {
    const { clock, log } = this.#options
    let response: ReturnType<typeof fromBinary<typeof DeltaDiscoveryResponseSchema>>
    try {
      response = fromBinary(DeltaDiscoveryResponseSchema, bytes)
    } catch {
      stream.close()
      this.#onClose(`${this.#address}: sent what is no response`, clock.passedMs)
      return
    }
    if (this.#disconnectedAtMs !== null) {
      this.#disconnectedAtMs = null
      log.info({ address: this.#address }, 'following the controller')
    }
    this.#lastResponseMs = clock.nowMs
    const { answer, hasChanged, named, revocations, refused, isWorthKeeping } = this.#state.apply(response)
    for (const { name } of response.resources) this.#refused.delete(`${response.typeUrl} ${name}`)
    for (const name of response.removedResources) this.#refused.delete(`${response.typeUrl} ${name}`)
    this.#noteRefused(refused)
    if (isWorthKeeping) this.#options.journal?.append(bytes)
    stream.write(toBinary(DeltaDiscoveryRequestSchema, answer))
    if (revocations !== null) this.#options.onRevocations?.(revocations)
    this.#askLater(stream)
    this.#isUntold ||= hasChanged
    if (this.#state.isConfirmed) this.#tell()
    if (response.typeUrl === ADDRESS_TYPE) this.#onAddresses(named, response.removedResources)
  }

  #onAddresses(named: readonly string[], removed: readonly string[]): void {
    const { demand } = this.#options
    if (demand === undefined) return
    demand.keys.onAnswered(named, true)
    demand.keys.onAnswered(removed, false)
    demand.keys.update(this.#state.config())
    this.#sendDemand()
    demand.onAnswers()
  }

  /** Asks for an address, `<network>/<ip>`, unless that was done; keeps it for as long as it is used. */
  use(key: string): void {
    const { demand, clock } = this.#options
    demand?.keys.use(key, clock.passedMs)
    this.#sendDemand()
  }

  #sendDemand(): void {
    const { demand } = this.#options
    if (demand === undefined || this.#stream === null) return // the next greeting says all
    const { subscribe, unsubscribe } = demand.keys.take()
    if (subscribe.length === 0 && unsubscribe.length === 0) return
    const request = this.#state.demandRequest(subscribe, unsubscribe)
    this.#stream.write(toBinary(DeltaDiscoveryRequestSchema, request))
  }

  /** What nobody uses any more is given back, now and then. */
  #expireLater(): void {
    const { demand, clock } = this.#options
    if (demand === undefined) return
    this.#expiry = clock.startTimer(EXPIRY_CHECK_MS, () => {
      if (demand.keys.expire(clock.passedMs)) {
        demand.keys.update(this.#state.config())
        this.#sendDemand()
      }
      if (demand.keys.isAgeing(clock.passedMs)) demand.onAgeing()
      this.#expireLater()
    })
  }

  #noteRefused(refused: readonly RefusedResource[]): void {
    for (const each of refused) {
      this.#refused.set(`${each.typeUrl} ${each.name}`, each)
      this.#options.log.error(
        { reason: 'CONFIG_INVALID', ...each },
        'a resource of the controller is refused',
      )
    }
  }

  /** The controller's configuration is whole. */
  #tell(): void {
    const hasNews = this.#isUntold || this.#told === 'none'
    this.#told = 'controller'
    this.#isUntold = false
    this.#options.journal?.setConfirmed(true)
    if (hasNews) this.#options.onConfig(this.#state.config(), this.#state.raw)
  }

  #disconnected(): void {
    this.#disconnectedAtMs ??= this.#options.clock.passedMs
  }

  #onClose(failure: string, startedMs: number): void {
    const { clock, log } = this.#options
    const wasConnected = this.#disconnectedAtMs === null
    if (wasConnected && clock.passedMs - startedMs >= GOOD_STREAM_MS) this.#backoff.reset()
    this.#disconnected()
    this.#stream = null
    this.#lastFailure = failure
    this.#options.journal?.setConfirmed(false)
    this.#useSnapshot()
    this.#next++
    const delayMs = this.#backoff.next()
    log.warn(
      { reason: 'CONFIG_STALE', failure, delayMs },
      'no stream to the controller; what is known stays in force',
    )
    this.#timer = clock.startTimer(delayMs, () => void this.#connect())
  }
}
