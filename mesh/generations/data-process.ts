// SPDX-License-Identifier: Apache-2.0
// One generation of the data process: started with one end of a descriptor channel, or taken over from a supervisor that has
// died; told of every pod, restarted when it dies. While it is away connects wait in the listening sockets' queues.
import { spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import {
  createChannelPair,
  DescriptorChannel,
  type DescriptorMessage,
} from '../reactor/descriptor-passing.ts'
import type { Log } from '../runtime/log.ts'
import { DATA_PROCESS_FLAGS } from './data-process-flags.ts'
import {
  type DataMessage,
  LISTENER_KINDS,
  type ListenerKind,
  type PodInfo,
  type SupervisorMessage,
} from './pods.ts'

/** Descriptor of the channel in the child. */
export const CHANNEL_FD = 3

/** A pod as a supervisor keeps it. The descriptors stay the supervisor's. */
export interface PodDescriptors {
  readonly pod: PodInfo
  /** null: it shares the host's. */
  readonly namespace: { readonly fd: number } | null
  readonly listeners: ReadonlyMap<ListenerKind, number>
}

/** Hears how the process fares. */
export interface DataProcessHandler {
  onMessage(message: DataMessage): void
  /** It is gone; `isClean`: as it should be after a drain. */
  onExit(description: string, isClean: boolean): void
}

/** A running data process. */
export class DataProcess {
  readonly pid: number
  readonly #channel: DescriptorChannel
  readonly #exited: Promise<void>

  private constructor(pid: number, channel: DescriptorChannel, exited: Promise<void>) {
    this.pid = pid
    this.#channel = channel
    this.#exited = exited
  }

  /** Starts one from `program`. `compileCache` null: there is none that can be trusted. */
  static start(
    program: string,
    args: readonly string[],
    compileCache: string | null,
    log: Log,
    handler: DataProcessHandler,
  ): DataProcess {
    const [own, theirs] = createChannelPair()
    const child = spawn(process.execPath, [...DATA_PROCESS_FLAGS, program, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', theirs],
      env: { ...process.env, ...(compileCache === null ? {} : { NODE_COMPILE_CACHE: compileCache }) },
    })
    closeSync(theirs)
    const channel = new DescriptorChannel(own, {
      onMessage: (message) => handler.onMessage(readMessage(message)),
      onClosed: () => {},
    })
    const exited = new Promise<void>((resolve) => {
      child.once('error', (cause) => log.error({ err: cause }, 'data process cannot be started'))
      child.once('close', (code, signal) => {
        channel.close()
        resolve()
        handler.onExit(signal ?? `exit code ${code}`, code === 0)
      })
    })
    return new DataProcess(child.pid ?? -1, channel, exited)
  }

  /** Takes over one that runs, once its pods have been received from the channel: the descriptor is ours from now on. */
  static takeOver(pid: number, channelFd: number, handler: DataProcessHandler): DataProcess {
    const { promise: exited, resolve } = Promise.withResolvers<void>()
    const channel = new DescriptorChannel(channelFd, {
      onMessage: (message) => handler.onMessage(readMessage(message)),
      onClosed: () => {
        kill(pid) // it is not our child: whatever is left of it must not serve beside the next one
        resolve()
        handler.onExit('the channel to it was closed', true) // how it ended only its parent would know
      },
    })
    return new DataProcess(pid, channel, exited)
  }

  addPod(sockets: PodDescriptors): void {
    const listeners = LISTENER_KINDS.filter((kind) => sockets.listeners.has(kind))
    const fds = listeners.map((kind) => sockets.listeners.get(kind) ?? -1)
    if (sockets.namespace !== null) fds.unshift(sockets.namespace.fd)
    const sharesHost = sockets.namespace === null
    // As it is kept here: the next supervisor is given it back.
    this.send({ type: 'pod-added', pod: sockets.pod, listeners, sharesHost }, fds)
  }

  send(message: SupervisorMessage, fds: readonly number[] = []): void {
    this.#channel.send(Buffer.from(JSON.stringify(message)), [...fds])
  }

  /** Resolves when it has ended. */
  get gone(): Promise<void> {
    return this.#exited
  }

  /** Waits for the end; after `deadlineMs` the process is killed. */
  async ended(deadlineMs: number): Promise<void> {
    const killer = setTimeout(() => kill(this.pid), deadlineMs)
    await this.#exited
    clearTimeout(killer)
  }
}

function readMessage({ payload }: DescriptorMessage): DataMessage {
  return JSON.parse(payload.toString()) as DataMessage // as: our own process
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it is gone already
  }
}
