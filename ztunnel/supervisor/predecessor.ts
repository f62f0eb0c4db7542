// SPDX-License-Identifier: Apache-2.0
// The supervisor whose pods the one of this process has been given, until it knows that they are served here.
import type { HandoverMessage, TakeMessage } from '../../mesh/generations/handover.ts'
import { DescriptorChannel } from '../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../mesh/reactor/ffi/libc.ts'

/** What it hears of the one before. */
export interface PredecessorHandler {
  /** It leads again, and waits for letGo(). */
  onTakenBack(): void
  /** It ended before it was told that its pods are served here: they are, but nobody looks after what it had open. */
  onGone(): void
}

/** given → served, or taken back, or gone. Owns its descriptor. */
export class Predecessor {
  readonly #channel: DescriptorChannel
  #isTold = false
  #isTakenBack = false

  constructor(fd: number, handler: PredecessorHandler) {
    this.#channel = new DescriptorChannel(fd, {
      onMessage: ({ payload, fds }) => {
        for (const each of fds) close(each)
        const { type } = JSON.parse(payload.toString()) as HandoverMessage // as: a supervisor of our own user
        if (type !== 'owned') return
        this.#isTakenBack = true
        handler.onTakenBack()
      },
      onClosed: () => {
        if (!this.#isTold && !this.#isTakenBack) handler.onGone()
      },
    })
  }

  /** It lives, and has not been told that it may go. */
  get serves(): boolean {
    return !this.#isTold && !this.#channel.isClosed
  }

  /** Its pods are served here: it closes the channel, unless it was about to take them back. */
  tellServing(): void {
    if (this.#channel.isClosed) return
    this.#isTold = true
    this.#channel.send(Buffer.from(JSON.stringify({ type: 'serving' } satisfies TakeMessage)))
  }

  /** Nothing of what there can be only one of on a node is here any more. */
  letGo(): void {
    this.#channel.close()
  }
}
