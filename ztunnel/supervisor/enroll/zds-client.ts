// SPDX-License-Identifier: Apache-2.0
// Lets a CNI agent that speaks Istio's ZDS say which pods are enrolled. SPEC HBONE §5.1: the agent listens, we connect; a
// request at a time, each answered; first all pods, then what changes. An agent that breaks the protocol is told so and
// left; what it has enrolled stays until it says otherwise, over a new connection.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { REASONS } from '../../../mesh/errors/reasons.ts'
import type { ReasonCounts } from '../../../mesh/generations/node-health.ts'
import { connectChannel } from '../../../mesh/reactor/channel-sockets.ts'
import { DescriptorChannel, type DescriptorMessage } from '../../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { Backoff } from '../../../mesh/runtime/backoff.ts'
import type { Clock, ClockTimer } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import {
  type WorkloadRequest,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from '../../../proto/generated/istio/zds_pb.js'
import { codeOfFailure } from './admit-pod.ts'
import type { PodRoster } from './pod-roster.ts'

const RETRY_FIRST_MS = 10
const RETRY_MAX_MS = 15_000
/** Of one request: names and ids. */
const MAX_REQUEST_BYTES = 1_024
/** Requests that wait while one is done; the agent waits for every answer. */
const MAX_WAITING_REQUESTS = 64
/** Of the name of anything in Kubernetes. */
const MAX_TEXT_LENGTH = 253
const HELLO_V1 = 1

/** What a client needs. */
export interface ZdsClientOptions {
  /** The agent's socket. */
  readonly path: string
  readonly roster: PodRoster
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
  /** Its status has changed. */
  readonly onChange: () => void
}

/** For people. */
export interface ZdsStatus {
  readonly isConnected: boolean
  /** All pods have been named. */
  readonly isSynced: boolean
  /** Why the last connection ended; '' when none has. */
  readonly lastFailure: string
  /** Connections that ended, or could not be made. */
  readonly failures: ReasonCounts
}

/** Whose fault it is that a connection ended: it broke the protocol, or was not there. */
type ZdsFailure = 'ZDS_PROTOCOL' | 'ZDS_UNAVAILABLE'

/** disconnected → connected → synced → disconnected …; stop() ends it. */
export class ZdsClient {
  readonly #options: ZdsClientOptions
  readonly #backoff: Backoff
  #session: ZdsSession | null = null
  #timer: ClockTimer | null = null
  #lastFailure = ''
  /** The failure that was logged last: the same one again is not news. */
  #lastTold = ''
  readonly #failures: Partial<Record<ZdsFailure, number>> = {}
  #isStopped = false

  constructor(options: ZdsClientOptions) {
    this.#options = options
    const { random } = options
    this.#backoff = new Backoff({ initialMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS, random })
  }

  start(): void {
    if (this.#isStopped) return
    const { path, roster, log } = this.#options
    try {
      this.#session = new ZdsSession(connectChannel(path), roster, log, {
        onSynced: () => {
          this.#backoff.reset()
          roster.setCurrent(true)
          log.info({ path }, 'the CNI agent has named all pods')
          // Told again when it comes again.
          this.#lastTold = ''
          this.#options.onChange()
        },
        onEnded: (reason, detail) => this.#ended(reason, detail),
      })
    } catch (error) {
      this.#ended('ZDS_UNAVAILABLE', error instanceof MeshError ? error.detail : String(error))
    }
  }

  status(): ZdsStatus {
    const { isSynced = false } = this.#session ?? {}
    return {
      isConnected: this.#session !== null,
      isSynced,
      lastFailure: this.#lastFailure,
      failures: this.#failures,
    }
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
    this.#session?.close()
    this.#session = null
  }

  #ended(reason: ZdsFailure, detail: string): void {
    if (this.#isStopped) return
    const { roster, clock, log, path, onChange } = this.#options
    this.#session = null
    roster.setCurrent(false)
    const delayMs = this.#backoff.next()
    const { fix } = REASONS[reason]
    if (detail !== this.#lastTold)
      log.warn({ path, reason, detail, delayMs, fix }, 'the CNI agent is not there; trying again')
    this.#lastTold = detail
    this.#lastFailure = detail
    this.#failures[reason] = (this.#failures[reason] ?? 0) + 1
    onChange()
    this.#timer = clock.startTimer(delayMs, () => this.start())
  }
}

interface SessionHandler {
  onSynced(): void
  onEnded(reason: ZdsFailure, detail: string): void
}

/** One connection. */
class ZdsSession {
  readonly #channel: DescriptorChannel
  readonly #roster: PodRoster
  readonly #log: Log
  readonly #handler: SessionHandler
  readonly #waiting: DescriptorMessage[] = []
  /** Named before the end of the snapshot. */
  readonly #named = new Set<string>()
  isSynced = false
  #isBusy = false
  #isOver = false

  /** Takes the descriptor over. */
  constructor(fd: number, roster: PodRoster, log: Log, handler: SessionHandler) {
    this.#roster = roster
    this.#log = log
    this.#handler = handler
    this.#channel = new DescriptorChannel(fd, {
      onMessage: (message) => this.#onMessage(message),
      onClosed: (error) => {
        if (error === null) this.#end('ZDS_UNAVAILABLE', 'it has closed the connection')
        else this.#end('ZDS_PROTOCOL', error.detail) // larger than any message of the protocol
      },
    })
    this.#channel.send(Buffer.from(toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version: HELLO_V1 }))))
  }

  close(): void {
    this.#isOver = true
    this.#channel.close()
    for (const { fds } of this.#waiting.splice(0)) closeAll(fds)
  }

  #end(reason: ZdsFailure, detail: string): void {
    if (this.#isOver) return
    this.close()
    this.#handler.onEnded(reason, detail)
  }

  #onMessage(message: DescriptorMessage): void {
    if (this.#isOver || this.#waiting.length >= MAX_WAITING_REQUESTS) {
      closeAll(message.fds)
      this.#end('ZDS_PROTOCOL', 'more requests than it may have waiting')
      return
    }
    this.#waiting.push(message)
    if (!this.#isBusy) void this.#work()
  }

  /** One after the other, in their order. */
  async #work(): Promise<void> {
    this.#isBusy = true
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const request = readRequest(next)
      if (typeof request === 'string') {
        closeAll(next.fds)
        this.#answer(request)
        this.#end('ZDS_PROTOCOL', request)
        break
      }
      const error = await this.#apply(request, next.fds)
      if (this.#isOver) break
      this.#answer(error.detail)
      if (error.isFatal) {
        this.#end('ZDS_PROTOCOL', error.detail)
        break
      }
    }
    this.#isBusy = false
  }

  /** Does what is asked. The descriptors are ours. */
  async #apply(
    { payload }: WorkloadRequest,
    fds: readonly number[],
  ): Promise<{ readonly detail: string; readonly isFatal: boolean }> {
    const done = { detail: '', isFatal: false }
    switch (payload.case) {
      case 'add': {
        const { uid, workloadInfo } = payload.value
        const [netns] = fds
        if (workloadInfo === undefined || netns === undefined) {
          closeAll(fds)
          return { detail: 'an added pod has a name', isFatal: true }
        }
        const { name, namespace, serviceAccount } = workloadInfo
        if (!this.isSynced) this.#named.add(uid)
        // A pod that cannot be served now is not the connection's fault: it stays, and is tried again.
        const detail = await this.#roster.add({ uid, name, namespace, serviceAccount }, netns)
        if (detail !== null) {
          const reason = codeOfFailure(detail)
          this.#log.warn({ uid, reason, detail }, 'a pod of the CNI agent cannot be served yet')
        }
        return { detail: detail ?? '', isFatal: false }
      }
      case 'keep':
        if (this.isSynced)
          return { detail: 'a pod is kept only before the end of the snapshot', isFatal: true }
        this.#named.add(payload.value.uid)
        return done
      case 'del':
        this.#named.delete(payload.value.uid)
        this.#roster.remove(payload.value.uid)
        return done
      case 'snapshotSent':
        if (this.isSynced) return { detail: 'the snapshot had ended', isFatal: true }
        this.#roster.retain(this.#named)
        this.#named.clear()
        this.isSynced = true
        this.#handler.onSynced()
        return done
      default:
        return { detail: 'a request that is none', isFatal: true }
    }
  }

  #answer(error: string): void {
    const response = create(WorkloadResponseSchema, { payload: { case: 'ack', value: { error } } })
    this.#channel.send(Buffer.from(toBinary(WorkloadResponseSchema, response)))
  }
}

/** The request, or why it is none: the agent and we do not speak the same protocol. */
function readRequest({ payload, fds }: DescriptorMessage): WorkloadRequest | string {
  if (payload.length > MAX_REQUEST_BYTES) return `a request of ${payload.length} bytes`
  let request: WorkloadRequest
  try {
    request = fromBinary(WorkloadRequestSchema, payload)
  } catch {
    return 'a message that is no request'
  }
  const wanted = request.payload.case === 'add' ? 1 : 0
  if (fds.length !== wanted) return `${fds.length} descriptors instead of ${wanted}`
  const { payload: body } = request
  if (body.case === 'snapshotSent' || body.case === undefined) return request
  const { workloadInfo } = body.case === 'add' ? body.value : {}
  const texts = [body.value.uid, workloadInfo?.name, workloadInfo?.namespace, workloadInfo?.serviceAccount]
  const isGood = texts.every((text) => text === undefined || (text !== '' && text.length <= MAX_TEXT_LENGTH))
  return isGood ? request : 'a name that is empty or too long'
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) close(fd)
}
