// SPDX-License-Identifier: Apache-2.0
// The server's side of ZDS, which says what a test tells it to.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { ChannelListener } from '../../mesh/reactor/channel-sockets.ts'
import { DescriptorChannel } from '../../mesh/reactor/descriptor-passing.ts'
import {
  type WorkloadRequest,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
} from '../../proto/generated/istio/zds_pb.js'

type Payload = NonNullable<
  Exclude<MessageInitShape<typeof WorkloadRequestSchema>, WorkloadRequest>['payload']
>

/** One connection of a ztunnel. */
export class ZdsConnection {
  readonly #channel: DescriptorChannel
  readonly #heard: Buffer[] = []
  readonly #readers: ((payload: Buffer | null) => void)[] = []
  isClosed = false

  constructor(fd: number) {
    this.#channel = new DescriptorChannel(fd, {
      onMessage: ({ payload }) => {
        const reader = this.#readers.shift()
        if (reader === undefined) this.#heard.push(payload)
        else reader(payload)
      },
      onClosed: () => {
        this.isClosed = true
        for (const reader of this.#readers.splice(0)) reader(null)
      },
    })
  }

  /** The next message; null when the other side has closed. */
  async next(): Promise<Buffer | null> {
    const heard = this.#heard.shift()
    if (heard !== undefined) return heard
    if (this.isClosed) return null
    return await new Promise((resolve) => this.#readers.push(resolve))
  }

  send(payload: Buffer, fds: readonly number[] = []): void {
    this.#channel.send(payload, fds)
  }

  /** Sends a request; resolves with the error of the answer, '' for none, null when there was no answer. */
  async ask(payload: Payload, fds: readonly number[] = []): Promise<string | null> {
    this.send(Buffer.from(toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload }))), fds)
    const answer = await this.next()
    return answer === null ? null : errorOf(answer)
  }

  async add(uid: string, netns: number): Promise<string | null> {
    const workloadInfo = { name: uid, namespace: 'shop', serviceAccount: uid }
    return await this.ask({ case: 'add', value: { uid, workloadInfo } }, [netns])
  }

  close(): void {
    this.#channel.close()
    this.isClosed = true
  }
}

/** The error of an answer; '' for none. */
export function errorOf(answer: Buffer): string {
  return fromBinary(WorkloadResponseSchema, answer).payload.value?.error ?? ''
}

export class ZdsAgent {
  readonly #listener: ChannelListener
  readonly #connections: ZdsConnection[] = []
  readonly #waiting: ((connection: ZdsConnection) => void)[] = []

  constructor(path: string) {
    this.#listener = new ChannelListener(path, (fd) => {
      const connection = new ZdsConnection(fd)
      const waiter = this.#waiting.shift()
      if (waiter === undefined) this.#connections.push(connection)
      else waiter(connection)
    })
  }

  /** The next ztunnel that connects. */
  async accept(): Promise<ZdsConnection> {
    return this.#connections.shift() ?? (await new Promise((resolve) => this.#waiting.push(resolve)))
  }

  close(): void {
    this.#listener.close()
    for (const connection of this.#connections) connection.close()
  }
}
