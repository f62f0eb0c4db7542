// SPDX-License-Identifier: Apache-2.0
// Looks for who serves the pods of the node already, a supervisor or a data process that has outlived its own, and gets them from
// there: no connection notices.
import { setTimeout as wait } from 'node:timers/promises'
import { MeshError } from '../errors/mesh-error.ts'
import { connectChannel, peerCredentials } from '../reactor/channel-sockets.ts'
import { type DescriptorMessage, receiveDescriptors, sendDescriptors } from '../reactor/descriptor-passing.ts'
import { DescriptorPoll } from '../reactor/descriptor-poll.ts'
import { close } from '../reactor/ffi/libc.ts'
import {
  ADOPTION_TIMEOUT_MS,
  givingSocket,
  HANDOVER_TIMEOUT_MS,
  HANDOVER_VERSION,
  type HandoverMessage,
  OWNER_WAIT_MS,
  type TakeMessage,
} from './handover.ts'
import type { ListenerKind, PodInfo } from './pods.ts'

const OWNER_POLL_MS = 50

/** A pod that is served already. The descriptors are the receiver's. */
export interface FoundPod<Pod extends PodInfo = PodInfo> {
  /** As it was when its supervisor told its data process. */
  readonly pod: Pod
  readonly namespaceFd: number | null
  readonly listeners: ReadonlyMap<ListenerKind, number>
}

/** What was found. The channel is the receiver's. */
export interface FoundGeneration {
  readonly pid: number
  readonly channelFd: number
  readonly pods: readonly FoundPod[]
}

/** What a supervisor that lives has handed over. The channel is the receiver's: it says there when it serves. */
export interface AskedPods {
  readonly pid: number
  readonly channelFd: number
  readonly pods: readonly FoundPod[]
}

/** Asks the supervisor that serves the node; null: there is none. @throws ALREADY_RUNNING when it does not hand over */
export async function askForPods(path: string): Promise<AskedPods | null> {
  const channelFd = connectSupervisor(path)
  if (channelFd === null) return null
  const take: TakeMessage = { type: 'take', version: HANDOVER_VERSION }
  try {
    sendDescriptors(channelFd, Buffer.from(JSON.stringify(take)))
  } catch {
    close(channelFd)
    return null // it has ended meanwhile
  }
  const pods = await receivePods(channelFd, HANDOVER_TIMEOUT_MS)
  if (pods !== 'owned' && pods !== null) return { pid: peerCredentials(channelFd).pid, channelFd, pods }
  close(channelFd)
  if (pods === null) return null
  throw new MeshError('ALREADY_RUNNING', { detail: path })
}

/** True while a supervisor serves the node, or gives it to the next one. */
export function isAnySupervisor(path: string): boolean {
  const fd = connectSupervisor(path)
  if (fd !== null) close(fd)
  return fd !== null
}

/** Null: there is none. @throws ALREADY_RUNNING when it has a supervisor that lives */
export async function findGeneration(path: string): Promise<FoundGeneration | null> {
  for (const startMs = performance.now(); ; ) {
    const channelFd = tryConnect(path)
    if (channelFd === null) return null
    const pods = await receivePods(channelFd, ADOPTION_TIMEOUT_MS)
    if (pods !== 'owned' && pods !== null) return { pid: peerCredentials(channelFd).pid, channelFd, pods }
    close(channelFd)
    // Null: it has ended meanwhile, or is of no use.
    if (pods === null) return null
    // The end of its supervisor may not have reached it yet.
    if (performance.now() - startMs > OWNER_WAIT_MS) throw new MeshError('ALREADY_RUNNING', { detail: path })
    await wait(OWNER_POLL_MS)
  }
}

function connectSupervisor(path: string): number | null {
  return tryConnect(path) ?? tryConnect(givingSocket(path))
}

function tryConnect(path: string): number | null {
  try {
    return connectChannel(path)
  } catch {
    return null // nobody listens: the usual start
  }
}

/** Reads until all pods are there; what comes behind them stays in the channel. */
async function receivePods(fd: number, timeoutMs: number): Promise<readonly FoundPod[] | 'owned' | null> {
  const found: FoundPod[] = []
  const deadlineMs = performance.now() + timeoutMs
  const giveUp = (): null => {
    for (const pod of found) closeFound(pod)
    return null
  }
  while (performance.now() < deadlineMs) {
    const received = receive(fd)
    if (received === null || received === 'eof') return giveUp()
    if (received === 'again') {
      await readable(fd, deadlineMs)
      continue
    }
    const message = JSON.parse(received.payload.toString()) as HandoverMessage // as: our own process
    if (message.type === 'owned') return 'owned'
    if (message.type === 'pods-kept') return found
    const [namespaceFd, ...rest] = message.sharesHost ? [null, ...received.fds] : received.fds
    const listeners = new Map(message.listeners.map((kind, index) => [kind, rest[index] ?? -1] as const))
    found.push({ pod: message.pod, namespaceFd: namespaceFd ?? null, listeners })
  }
  return giveUp()
}

/** Null: the channel is broken. */
function receive(fd: number): DescriptorMessage | 'eof' | 'again' | null {
  try {
    return receiveDescriptors(fd)
  } catch {
    return null
  }
}

function readable(fd: number, deadlineMs: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      DescriptorPoll.shared().unwatch(fd)
      resolve()
    }
    const timer = setTimeout(done, Math.max(0, deadlineMs - performance.now()))
    DescriptorPoll.shared().watch(fd, done)
  })
}

function closeFound({ namespaceFd, listeners }: FoundPod): void {
  if (namespaceFd !== null) close(namespaceFd)
  for (const fd of listeners.values()) close(fd)
}
