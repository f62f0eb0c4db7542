// SPDX-License-Identifier: Apache-2.0
// Resolvers and clients of DNS in the namespaces of a test, each a process of its own (dns-peer.ts).
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import type { DnsAsk, DnsTold } from './dns-peer.ts'

/** Far above what we allow a resolver. */
const DEADLINE_MS = 20_000
const PEER = fileURLToPath(new URL('./dns-peer.ts', import.meta.url))

/** Something with tap's teardown. */
interface Owner {
  teardown(action: () => void): void
}

/** One process in a namespace; ends with the test. */
class DnsPeer {
  readonly child: ChildProcess
  readonly isUp: Promise<void>

  constructor(
    t: Owner,
    namespace: NetworkNamespace,
    args: readonly string[],
    onTold: (told: DnsTold) => void,
  ) {
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const
    const start = (): ChildProcess =>
      spawn(process.execPath, ['--no-warnings', PEER, ...args], { stdio: [...stdio], env: AGENT_ENVIRONMENT })
    this.child = namespace.run(start)
    t.teardown(() => this.child.kill('SIGKILL'))
    this.isUp = new Promise((resolve) => {
      this.child.on('message', (message) => {
        const told = message as DnsTold // as: of our own program
        if (told.type === 'up') resolve()
        else onTold(told)
      })
    })
  }
}

/** A resolver on port 53 of all addresses of a namespace. */
export class TestResolver {
  /** Every message it got, in their order, and what it answered. */
  readonly served: DnsTold[] = []
  readonly #peer: DnsPeer

  private constructor(t: Owner, namespace: NetworkNamespace) {
    this.#peer = new DnsPeer(t, namespace, ['serve'], (told) => this.served.push(told))
  }
  static async start(t: Owner, namespace: NetworkNamespace): Promise<TestResolver> {
    const resolver = new TestResolver(t, namespace)
    await resolver.#peer.isUp
    return resolver
  }
  /** What it got since the last call. */
  take(): DnsTold[] {
    return this.served.splice(0)
  }
  /** Nobody listens any more when this resolves. */
  async stop(): Promise<void> {
    const { child } = this.#peer
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await exited
  }
}

/** Asks from inside a namespace. */
export class TestClient {
  readonly #peer: DnsPeer
  readonly #waiting = new Map<number, (received: readonly string[]) => void>()
  #nextId = 1

  private constructor(t: Owner, namespace: NetworkNamespace) {
    this.#peer = new DnsPeer(t, namespace, [], ({ id, received }) => this.#waiting.get(id)?.(received))
  }
  static async start(t: Owner, namespace: NetworkNamespace): Promise<TestClient> {
    const client = new TestClient(t, namespace)
    await client.#peer.isUp
    return client
  }
  /** Sends messages to a resolver; its answers, as many as `count` says (as many as messages). */
  async ask(
    protocol: 'udp' | 'tcp',
    ip: string,
    messages: readonly Buffer[],
    count: number = messages.length,
    port = 53,
  ): Promise<readonly Buffer[]> {
    return await this.#ask(messages, { protocol, ip, count, port })
  }
  /** One message by UDP from this port. */
  async askFrom(from: number, ip: string, message: Buffer): Promise<Buffer | undefined> {
    return (await this.#ask([message], { protocol: 'udp', ip, count: 1, port: 53, from }))[0]
  }
  async #ask(messages: readonly Buffer[], way: Omit<DnsAsk, 'id' | 'messages'>): Promise<readonly Buffer[]> {
    const id = this.#nextId++
    const hex = messages.map((message) => message.toString('hex'))
    const received = await new Promise<readonly string[]>((resolve, reject) => {
      const deadline = setTimeout(
        () => reject(new Error(`${way.protocol} ${way.ip}: no answer`)),
        DEADLINE_MS,
      )
      this.#waiting.set(id, (answers) => {
        clearTimeout(deadline)
        resolve(answers)
      })
      this.#peer.child.send({ id, ...way, messages: hex } satisfies DnsAsk)
    })
    this.#waiting.delete(id)
    return received.map((text) => Buffer.from(text, 'hex'))
  }
}
