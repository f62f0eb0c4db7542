// SPDX-License-Identifier: Apache-2.0
// Program: opens many connections, sends one request on each, says so, and holds them until it is ended (or closes
// them at once). Losing one is a failure: then fewer would be measured than counted.
import { writeSync } from 'node:fs'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { answer, programArguments, type Target } from './dial.ts'
import { type ConnectionOwner, KeepAliveConnection } from './keep-alive-connection.ts'

/** Settings of a run. */
export interface HoldOptions {
  /** Connections to each of them. */
  readonly targets: readonly Target[]
  readonly perTarget: number
  /** False: close each connection after its answer, and end. */
  readonly keeps: boolean
}

/** Connections being opened at once: opening is not what is measured, and its peak must not stay in memory. */
const PARALLEL = 16

class Hold implements ConnectionOwner {
  readonly #reactor: Reactor
  readonly #options: HoldOptions
  readonly #asked = new Set<KeepAliveConnection>()
  readonly #total: number
  #started = 0
  #done = 0

  constructor(reactor: Reactor, options: HoldOptions) {
    this.#reactor = reactor
    this.#options = options
    this.#total = options.targets.length * options.perTarget
    for (let i = 0; i < PARALLEL; i++) this.#startNext()
  }

  onIdle(connection: KeepAliveConnection): void {
    if (!this.#asked.has(connection)) {
      this.#asked.add(connection)
      connection.request()
      return
    }
    if (!this.#options.keeps) connection.close()
    this.#done++
    this.#startNext()
    if (this.#done < this.#total) return
    answer({ connections: this.#done })
    if (!this.#options.keeps) this.#reactor.startTimer(0, () => this.#reactor.stop()) // FINs leave before
  }

  onLost(_connection: KeepAliveConnection, reason: string): void {
    writeSync(2, `lost a connection after ${this.#done}: ${reason}\n`)
    process.exitCode = 1
    this.#reactor.stop()
  }

  #startNext(): void {
    if (this.#started >= this.#total) return
    const target = this.#options.targets[this.#started % this.#options.targets.length]
    this.#started++
    if (target !== undefined) new KeepAliveConnection(this.#reactor, target, '', this)
  }
}

if (import.meta.main) {
  const reactor = new Reactor()
  new Hold(reactor, programArguments<HoldOptions>())
  reactor.run()
}
