// SPDX-License-Identifier: Apache-2.0
// One generation of the data process: started with one end of a descriptor channel, told of every pod, restarted
// when it dies. While it is away connects wait in the listening sockets' queues.
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { createChannelPair, DescriptorChannel } from '../../mesh/reactor/descriptor-passing.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { type DataMessage, LISTENER_KINDS, type SupervisorMessage } from '../pods.ts'
import { DATA_PROCESS_FLAGS } from './data-process-flags.ts'
import type { PodSockets } from './pod-sockets.ts'

/** Descriptor of the channel in the child. */
export const CHANNEL_FD = 3
/** Hears how the process fares. */
export interface DataProcessHandler {
  onMessage(message: DataMessage): void
  /** It is gone; `wasAsked` is false when it crashed. */
  onExit(description: string): void
}

/** A running data process. */
export class DataProcess {
  readonly #child: ChildProcess
  readonly #channel: DescriptorChannel
  readonly #exited: Promise<void>

  /** `compileCache` null: there is none that can be trusted. */
  constructor(args: readonly string[], compileCache: string | null, log: Log, handler: DataProcessHandler) {
    const [own, theirs] = createChannelPair()
    this.#child = spawn(
      process.execPath,
      [...DATA_PROCESS_FLAGS, fileURLToPath(new URL('../main.ts', import.meta.url)), ...args],
      {
        stdio: ['ignore', 'inherit', 'inherit', theirs],
        env: { ...process.env, ...(compileCache === null ? {} : { NODE_COMPILE_CACHE: compileCache }) },
      },
    )
    closeSync(theirs)
    this.#channel = new DescriptorChannel(own, {
      onMessage: ({ payload }) => handler.onMessage(JSON.parse(payload.toString()) as DataMessage), // as: our own process
      onClosed: () => {},
    })
    this.#exited = new Promise((resolve) => {
      this.#child.once('error', (cause) => log.error({ err: cause }, 'data process cannot be started'))
      this.#child.once('close', (code, signal) => {
        this.#channel.close()
        resolve()
        handler.onExit(signal ?? `exit code ${code}`)
      })
    })
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  addPod(sockets: PodSockets): void {
    const { uid, name, namespace, serviceAccount } = sockets.pod
    const listeners = LISTENER_KINDS.filter((kind) => sockets.listeners.has(kind))
    const fds = listeners.map((kind) => sockets.listeners.get(kind) ?? -1)
    if (sockets.namespace !== null) fds.unshift(sockets.namespace.fd)
    const sharesHost = sockets.namespace === null
    this.send(
      { type: 'pod-added', pod: { uid, name, namespace, serviceAccount }, listeners, sharesHost },
      fds,
    )
  }

  send(message: SupervisorMessage, fds: readonly number[] = []): void {
    this.#channel.send(Buffer.from(JSON.stringify(message)), [...fds])
  }

  /** Waits for the end; after `deadlineMs` the process is killed. */
  async ended(deadlineMs: number): Promise<void> {
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), deadlineMs)
    await this.#exited
    clearTimeout(killer)
  }
}
