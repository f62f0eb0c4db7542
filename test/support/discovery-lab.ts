// SPDX-License-Identifier: Apache-2.0
// The discovery service over real gRPC and TLS, with clients that hold what they are told, for tests of the server.
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import { pino } from 'pino'
import type { Test } from 'tap'
import { DeltaServer, type DeltaServerOptions } from '../../controller/publish/delta-server.ts'
import { Publisher } from '../../controller/publish/publisher.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, DELTA_PATH } from '../../mesh/discovery/protocol.ts'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { GrpcServer } from '../../mesh/grpc/server.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../proto/generated/envoy/discovery_pb.js'
import { deltaRequest } from './delta-client.ts'
import { published } from './published.ts'
import { serverCertificate } from './server-certificate.ts'

/** Of the server; clients trust its root. */
export const identity = await serverCertificate()
const same = (bytes: Buffer): Buffer => bytes

export interface DiscoveryLab {
  readonly delta: DeltaServer
  readonly connect: (token?: string) => TestStream
  readonly port: number
}

/** A server; a caller is the node that its token names. `isPublished`: nothing was published, but that is known. */
export async function discoveryLab(
  t: Test,
  options: Partial<DeltaServerOptions> = {},
  isPublished = true,
): Promise<DiscoveryLab> {
  const delta = new DeltaServer({
    publisher: new Publisher(),
    authenticate: async (metadata) => {
      const node = metadata.get('authorization')
      if (node === undefined) throw new MeshError('CERT_MISSING', { detail: 'no token' })
      return { node, accounts: [node], description: `token of ${node}` }
    },
    clock: systemClock,
    log: pino({ level: 'silent' }),
    ...options,
  })
  if (isPublished) delta.publish(published([]))
  const server = await GrpcServer.start({ host: '127.0.0.1', port: 0, identity, methods: [delta.method] })
  t.teardown(() => server.stop(0))
  const connect = (token?: string): TestStream => {
    const client = new Client(
      `localhost:${server.port}`,
      credentials.createSsl(Buffer.from(identity.rootPem)),
      {
        'grpc.max_receive_message_length': -1,
        'grpc.use_local_subchannel_pool': 1,
      },
    )
    t.teardown(() => client.close())
    const metadata = new Metadata()
    if (token !== undefined) metadata.set('authorization', token)
    return new TestStream(client.makeBidiStreamRequest(DELTA_PATH, same, same, metadata))
  }
  return { delta, connect, port: server.port }
}

/** A client that answers everything unless it is told not to. */
export class TestStream {
  readonly held = new Map<string, string>()
  readonly responses: DeltaDiscoveryResponse[] = []
  isSilent = false
  readonly refuses = new Set<string>()
  /** It refuses every response, an empty one too. */
  refusesAll = false
  status: number | null = null
  readonly #call: ClientDuplexStream<Buffer, Buffer>
  #waiters: (() => void)[] = []

  constructor(call: ClientDuplexStream<Buffer, Buffer>) {
    this.#call = call
    call.on('data', (bytes: Buffer) => this.#onResponse(fromBinary(DeltaDiscoveryResponseSchema, bytes)))
    call.on('error', (error: ServiceError) => this.#changed(() => (this.status = error.code)))
    call.on('end', () => this.#changed(() => (this.status ??= 0)))
  }

  begin(): this {
    for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) this.send(deltaRequest({ typeUrl }))
    return this
  }

  send(request: ReturnType<typeof deltaRequest>): void {
    this.#call.write(Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)))
  }

  ofType(typeUrl: string): DeltaDiscoveryResponse[] {
    return this.responses.filter((response) => response.typeUrl === typeUrl)
  }

  sendBytes(bytes: Buffer): void {
    this.#call.write(bytes)
  }

  pause(): void {
    this.#call.pause()
  }

  resume(): void {
    this.#call.resume()
  }

  close(): void {
    this.#call.cancel()
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#waiters.push(resolve))
  }

  #onResponse(response: DeltaDiscoveryResponse): void {
    this.#changed(() => {
      this.responses.push(response)
      for (const { name, version } of response.resources)
        if (!this.refuses.has(name)) this.held.set(name, version)
      for (const name of response.removedResources) this.held.delete(name)
    })
    if (!this.isSilent) this.#answer(response)
  }

  /** Answers what came last. */
  answerLast(): void {
    const last = this.responses.at(-1)
    if (last !== undefined) this.#answer(last)
  }

  #answer({ typeUrl, nonce, resources }: DeltaDiscoveryResponse): void {
    const refused = resources.filter(({ name }) => this.refusesAll || this.refuses.has(name))
    const error =
      this.refusesAll && refused.length === 0
        ? 'no'
        : refused.map(({ name }) => `${name}: no such enum`).join('; ')
    this.send(deltaRequest({ typeUrl, nonce, ...(error === '' ? {} : { error }) }))
  }

  #changed(change: () => void): void {
    change()
    const waiters = this.#waiters
    this.#waiters = []
    for (const wake of waiters) wake()
  }
}
