// SPDX-License-Identifier: Apache-2.0
// The data process's end of its supervisor: a channel. When a supervisor dies without a word, the process serves on and
// the next supervisor takes it over.
import { MeshError } from '../errors/mesh-error.ts'
import { REASONS } from '../errors/reasons.ts'
import type { PortSet } from '../net/port-set.ts'
import { ChannelListener, peerCredentials } from '../reactor/channel-sockets.ts'
import { DescriptorChannel } from '../reactor/descriptor-passing.ts'
import { close } from '../reactor/ffi/libc.ts'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { type HandoverMessage, ORPHAN_WAIT_MS } from './handover.ts'
import type { DataMessage, ListenerKind, PodInfo, SupervisorMessage } from './pods.ts'

/** A pod that is served, as the next supervisor is given it. The descriptors stay the process's. */
export interface KeptPod {
  readonly info: PodInfo
  readonly namespaceFd: number | null
  readonly listeners: ReadonlyMap<ListenerKind, number>
  readonly isServed: boolean
  /** What the last supervisor was told; null: nothing. */
  readonly closedPorts: PortSet | null
}

export interface SupervisorLinkOptions {
  /** Descriptor of the channel to the first supervisor. */
  readonly channelFd: number
  /** Where the next one connects. */
  readonly handoverPath: string
  readonly clock: Clock
  readonly log: Log
  /** The descriptors are the handler's. */
  readonly onMessage: (message: SupervisorMessage, fds: readonly number[]) => void
  readonly keptPods: () => readonly KeptPod[]
  /** Nobody has taken over in time, or the supervisor ended while this process was about to. */
  readonly onAbandoned: () => void
}

/** owned ⇄ orphaned → abandoned. */
export class SupervisorLink {
  readonly #options: SupervisorLinkOptions
  #channel: DescriptorChannel
  #listener: ChannelListener | null = null
  #orphanTimer: ClockTimer | null = null

  constructor(options: SupervisorLinkOptions) {
    this.#options = options
    this.#channel = this.#open(options.channelFd)
  }

  /** From now on the process outlives its supervisor. */
  listen(): void {
    const { handoverPath, log } = this.#options
    try {
      this.#listener = new ChannelListener(handoverPath, (fd) => this.#onConnection(fd))
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const { code, detail } = error
      log.warn({ reason: code, detail }, 'this process ends with its supervisor')
    }
  }

  /** This process is about to end: nobody takes it over any more. */
  end(): void {
    this.#listener?.close()
    this.#listener = null
    this.#orphanTimer?.cancel()
  }

  send(message: DataMessage | HandoverMessage, fds: readonly number[] = []): void {
    this.#channel.send(Buffer.from(JSON.stringify(message)), fds)
  }

  #open(fd: number): DescriptorChannel {
    return new DescriptorChannel(fd, {
      onMessage: ({ payload, fds }) =>
        this.#options.onMessage(JSON.parse(payload.toString()) as SupervisorMessage, fds), // as: our supervisor
      onClosed: () => this.#onClosed(),
    })
  }

  #onClosed(): void {
    const { clock, log, onAbandoned } = this.#options
    if (this.#listener === null) {
      onAbandoned()
      return
    }
    const { fix } = REASONS.SUPERVISOR_LOST
    log.error(
      { reason: 'SUPERVISOR_LOST', fix },
      'the supervisor has died; serving on until the next one comes',
    )
    this.#orphanTimer = clock.startTimer(ORPHAN_WAIT_MS, () => {
      this.end()
      onAbandoned()
    })
  }

  #onConnection(fd: number): void {
    const { log, keptPods } = this.#options
    const { uid, pid } = peerCredentials(fd)
    if (uid !== process.getuid?.()) {
      close(fd)
      return
    }
    if (!this.#channel.isClosed) {
      const refusal = new DescriptorChannel(fd, {
        onMessage: ({ fds }) => fds.forEach(close),
        onClosed: () => {},
      })
      refusal.send(Buffer.from(JSON.stringify({ type: 'owned' } satisfies HandoverMessage)))
      refusal.close()
      return
    }
    this.#orphanTimer?.cancel()
    this.#channel = this.#open(fd)
    const kept = keptPods()
    for (const { info, namespaceFd, listeners } of kept) {
      const fds = [...(namespaceFd === null ? [] : [namespaceFd]), ...listeners.values()]
      const kinds = [...listeners.keys()]
      this.send({ type: 'pod-kept', pod: info, listeners: kinds, sharesHost: namespaceFd === null }, fds)
    }
    this.send({ type: 'pods-kept' })
    for (const { info, isServed, closedPorts: ports } of kept) {
      if (isServed) this.send({ type: 'pod-ready', uid: info.uid })
      if (ports !== null) this.send({ type: 'closed-ports', uid: info.uid, ports })
    }
    log.info({ supervisor: pid, pods: kept.length }, 'taken over by the next supervisor')
  }
}
