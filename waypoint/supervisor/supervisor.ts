// SPDX-License-Identifier: Apache-2.0
// Keeps the socket of a waypoint, and the data processes that serve it: one that dies is replaced within a second, one of
// another version starts beside it on the same socket. One of a dead supervisor is taken over with its socket.
import { closeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { PodDescriptors } from '../../mesh/generations/data-process.ts'
import { Generations } from '../../mesh/generations/generations.ts'
import { handoverSocket } from '../../mesh/generations/handover.ts'
import { findGeneration } from '../../mesh/generations/take-over.ts'
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import { openListener } from '../../mesh/reactor/tcp-listener.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { WaypointConfig } from '../config.ts'

const DATA_PROGRAM = fileURLToPath(new URL('../main.ts', import.meta.url))
/** The waypoint is the one pod that its data process serves. */
const OWN_UID = 'sidestep.dev/waypoint'

export class Supervisor {
  readonly #config: WaypointConfig
  readonly #log: Log
  readonly #generations: Generations
  #own: PodDescriptors | null = null

  /** `compileCache` null: there is none that can be trusted. */
  constructor(config: WaypointConfig, args: readonly string[], compileCache: string | null, log: Log) {
    this.#config = config
    this.#log = log
    this.#generations = new Generations({
      ...{ config, args, compileCache, log, room: 'waypoint', program: DATA_PROGRAM },
      handler: {
        isBeside: () => false,
        pods: () => (this.#own === null ? [] : [this.#own]),
        onServing() {},
        onServed() {},
        onUnserved() {},
        onClosedPorts() {},
        onPodLeft() {},
      },
    })
  }

  /** @throws SYSTEM_CALL (somebody else has the port), ALREADY_RUNNING */
  async start(): Promise<void> {
    const found = await findGeneration(handoverSocket(this.#config.adminSocket))
    if (found !== null) {
      const [kept] = found.pods
      if (kept !== undefined) this.#own = { pod: kept.pod, namespace: null, listeners: kept.listeners }
      this.#generations.adopt(found.pid, found.channelFd)
      this.#generations.tell({ type: 'snapshot-sent' })
      this.#log.info({ pid: found.pid }, 'data process taken over')
    }
    this.#own ??= this.#open()
    this.#generations.need()
  }

  /** Starts the next generation beside the one that serves. */
  upgrade(): void {
    this.#generations.upgrade()
  }

  async stop(): Promise<void> {
    this.#generations.stop()
    const ended = this.#generations.end()
    // The socket ends with the last who has it: callers are refused then, and go to another instance.
    for (const fd of this.#own?.listeners.values() ?? []) closeSync(fd)
    this.#own = null
    await ended
  }

  #open(): PodDescriptors {
    const { podName: name, podNamespace: namespace, serviceAccount, listenAddress } = this.#config
    const listener = openListener(listenAddress, HBONE_PORT)
    return {
      pod: { uid: OWN_UID, name, namespace, serviceAccount },
      namespace: null,
      listeners: new Map([['inbound', listener]]),
    }
  }
}
