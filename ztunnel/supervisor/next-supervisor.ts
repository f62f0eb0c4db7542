// SPDX-License-Identifier: Apache-2.0
// Where a supervisor that lives is asked for its pods by the next one.

import {
  HANDOVER_TIMEOUT_MS,
  HANDOVER_VERSION,
  type HandoverMessage,
  LET_GO_TIMEOUT_MS,
  SERVING_TIMEOUT_MS,
  type TakeMessage,
} from '../../mesh/generations/handover.ts'
import { LISTENER_KINDS } from '../../mesh/generations/pods.ts'
import { ChannelListener, peerCredentials } from '../../mesh/reactor/channel-sockets.ts'
import { DescriptorChannel, type DescriptorMessage } from '../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import type { PodSockets } from './pod-sockets.ts'

/** Calls `onTake` for every supervisor that asks; it answers with give() or refuse(). @throws SYSTEM_CALL */
export function listenForNext(
  path: string,
  clock: Clock,
  onTake: (next: NextSupervisor) => void,
): ChannelListener {
  return new ChannelListener(path, (fd) => {
    if (peerCredentials(fd).uid === process.getuid?.()) new NextSupervisor(fd, clock, onTake)
    else close(fd)
  })
}

/** asking → taking → serving, or too late, or gone. Owns its descriptor. */
export class NextSupervisor {
  readonly pid: number
  /** True when its own data process serves; false when it is gone, or too late and has had its time to let go. */
  readonly isServing: Promise<boolean>
  /** When it was late: it keeps nothing of the node any more. */
  readonly gone: Promise<void>
  readonly #clock: Clock
  readonly #channel: DescriptorChannel
  readonly #decide: (isServing: boolean) => void
  #timer: ClockTimer
  #isLate = false

  constructor(fd: number, clock: Clock, onTake: (next: NextSupervisor) => void) {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.pid = peerCredentials(fd).pid
    const { promise: gone, resolve: onGone } = Promise.withResolvers<void>()
    this.isServing = promise
    this.gone = gone
    this.#clock = clock
    this.#decide = (isServing) => {
      this.#timer.cancel()
      resolve(isServing)
    }
    this.#channel = new DescriptorChannel(fd, {
      onMessage: (received) => this.#onMessage(received, onTake),
      onClosed: () => {
        this.#decide(false)
        onGone()
      },
    })
    this.#timer = clock.startTimer(HANDOVER_TIMEOUT_MS, () => this.refuse())
  }

  refuse(): void {
    this.#send({ type: 'owned' })
    this.#channel.close()
    this.#decide(false)
  }

  /** Hands over copies of all descriptors. */
  give(pods: Iterable<PodSockets>): void {
    this.#timer.cancel()
    this.#timer = this.#clock.startTimer(SERVING_TIMEOUT_MS, () => this.#takeBack())
    for (const { pod, namespace, listeners } of pods) {
      const kinds = LISTENER_KINDS.filter((kind) => listeners.has(kind))
      const fds = kinds.map((kind) => listeners.get(kind) ?? -1)
      if (namespace !== null) fds.unshift(namespace.fd)
      this.#send({ type: 'pod-kept', pod, listeners: kinds, sharesHost: namespace === null }, fds)
    }
    this.#send({ type: 'pods-kept' })
  }

  #takeBack(): void {
    this.#isLate = true
    this.#send({ type: 'owned' })
    this.#timer = this.#clock.startTimer(LET_GO_TIMEOUT_MS, () => this.#decide(false))
  }

  #send(message: HandoverMessage, fds: readonly number[] = []): void {
    this.#channel.send(Buffer.from(JSON.stringify(message)), fds)
  }

  #onMessage({ payload, fds }: DescriptorMessage, onTake: (next: NextSupervisor) => void): void {
    for (const fd of fds) close(fd)
    const message = JSON.parse(payload.toString()) as TakeMessage // as: a supervisor, of our own user
    if (message.type === 'serving') {
      if (this.#isLate) return // it is about to hear it
      this.#decide(true)
      this.#channel.close()
    } else if (message.version === HANDOVER_VERSION) onTake(this)
    else this.refuse()
  }
}
