// SPDX-License-Identifier: Apache-2.0
// Program inside a pod: so many HTTP requests a second, whatever becomes of them; every other one on a connection of its own,
// the others in turn on some that stay open. On the reactor, so that it takes little of the machine. Says how far it is twice
// a second; ends, when its stdin does, once everything is answered.
import { writeSync } from 'node:fs'
import { type ConnectionOwner, KeepAliveConnection } from '../../bench/load/keep-alive-connection.ts'
import { EPOLLIN } from '../../mesh/reactor/ffi/constants.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'

/** The argument of this program, as JSON. */
export interface RequestLoadOptions {
  readonly ip: string
  readonly port: number
  readonly perSecond: number
  /** Connections that stay open. */
  readonly kept: number
}

/** A line of what it says. */
export interface RequestProgress {
  /** Since the start. */
  readonly ms: number
  /** Requests that were due and begun. */
  readonly begun: number
  readonly answered: number
  /** What became of the others, the first of them. */
  readonly failures: readonly string[]
  readonly failureCount: number
}

const TURN_MS = 2
const TELL_MS = 500
/** Without an answer for so long after the end it has none. */
const LAST_ANSWER_MS = 30_000
const MAX_TOLD_FAILURES = 20

const options = JSON.parse(process.argv[2] ?? '') as RequestLoadOptions // as: request-load.ts passes it
const reactor = new Reactor()
const failures: string[] = []
let [begun, answered, failureCount] = [0, 0, 0]

function fail(reason: string): void {
  if (++failureCount <= MAX_TOLD_FAILURES) failures.push(reason)
}

/** One request on a connection of its own. */
class OwnConnection implements ConnectionOwner {
  #hasAsked = false
  constructor() {
    new KeepAliveConnection(reactor, options, '', this)
  }
  onIdle(connection: KeepAliveConnection): void {
    if (this.#hasAsked) {
      answered++
      connection.close()
    } else connection.request()
    this.#hasAsked = true
  }
  onLost(_: KeepAliveConnection, reason: string): void {
    fail(`its own connection: ${reason}`)
  }
}

/** Connections that stay open; a request waits for a free one. */
class KeptConnections implements ConnectionOwner {
  readonly #free: KeepAliveConnection[] = []
  readonly #asking = new Set<KeepAliveConnection>()
  #waiting = 0

  constructor(count: number) {
    for (let index = 0; index < count; index++) new KeepAliveConnection(reactor, options, '', this)
  }
  ask(): void {
    const connection = this.#free.shift()
    if (connection === undefined) this.#waiting++
    else {
      this.#asking.add(connection)
      connection.request()
    }
  }
  onIdle(connection: KeepAliveConnection): void {
    if (this.#asking.delete(connection)) answered++
    this.#free.push(connection)
    if (this.#waiting === 0) return
    this.#waiting--
    this.ask()
  }
  onLost(connection: KeepAliveConnection, reason: string): void {
    this.#asking.delete(connection)
    fail(`a kept connection: ${reason}`)
  }
}

const kept = new KeptConnections(options.kept)
const startMs = performance.now()
let isOver = false
reactor.watch(0, EPOLLIN, { onReady: () => (isOver = true) }, true)
const tell = (): void => {
  const ms = performance.now() - startMs
  writeSync(
    1,
    `${JSON.stringify({ ms, begun, answered, failures, failureCount } satisfies RequestProgress)}\n`,
  )
}
for (let toldMs = startMs; !isOver; reactor.runTurn(TURN_MS)) {
  const nowMs = performance.now()
  for (const due = ((nowMs - startMs) * options.perSecond) / 1000; begun < due; begun++)
    if (begun % 2 === 0) new OwnConnection()
    else kept.ask()
  if (nowMs - toldMs < TELL_MS) continue
  toldMs = nowMs
  tell()
}
reactor.unwatch(0)
tell()
const lastMs = performance.now() + LAST_ANSWER_MS
while (answered + failureCount < begun && performance.now() < lastMs) reactor.runTurn(TURN_MS)
if (answered + failureCount < begun) fail(`${begun - answered - failureCount} without an answer`)
tell()
