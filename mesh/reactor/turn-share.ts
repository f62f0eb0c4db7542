// SPDX-License-Identifier: Apache-2.0
// Shares the turns of a reactor among workloads: bytes by deficit round robin, steps of TLS handshakes one workload after
// the other. Who is over its share waits for the next turn, which then does not wait: nothing is lost but the order, and
// a workload alone has long turns, in company short ones.

/** Bytes that a workload may read in a turn while no other one reads: four blocks of bulk, a millisecond or two. */
export const TURN_SHARE_BYTES = 1_048_576
/** The same in company: what others wait for it is a fifth of a millisecond. Turns cost more then, but who bears that is bulk. */
export const COMPANY_TURN_SHARE_BYTES = 131_072
/** How long after another workload has read a reactor counts as shared. */
const COMPANY_MS = 1000
/** Steps of handshakes in a turn, of all workloads: each signs or verifies for up to half a millisecond. */
export const MAX_HANDSHAKE_STEPS = 2

/** A socket of a workload. The fields are the share's. */
export interface ShareMember {
  /** True from the call that said no until `runInTurn`. */
  isInLine: boolean
  nextInLine: ShareMember | null
  /** Its turn has come: read, or go on with the handshake. False: there was nothing to do, so it cost nothing. */
  runInTurn(): boolean
}

/** What a turn has for its workloads. */
export interface TurnLimits {
  /** Bytes that a workload may read in a turn while others read too; far above what a socket holds: as each likes. */
  readonly companyBytes: number
  /** Steps of handshakes in a turn, of all workloads; more than there are handshakes: all at once, as they come. */
  readonly handshakeSteps: number
}
export const TURN_LIMITS: TurnLimits = {
  companyBytes: COMPANY_TURN_SHARE_BYTES,
  handshakeSteps: MAX_HANDSHAKE_STEPS,
}

/** What a share asks of its reactor. */
export interface TurnSource {
  readonly turnCount: number
  readonly nowMs: number
  inNextTurn(callback: () => void): void
}

/** First in, first out; a member stands in one line at a time. */
class Line {
  #first: ShareMember | null = null
  #last: ShareMember | null = null

  get isEmpty(): boolean {
    return this.#first === null
  }

  push(member: ShareMember): void {
    member.isInLine = true
    if (this.#last === null) this.#first = member
    else this.#last.nextInLine = member
    this.#last = member
  }

  shift(): ShareMember | null {
    const member = this.#first
    if (member === null) return null
    this.#first = member.nextInLine
    if (this.#first === null) this.#last = null
    member.nextInLine = null
    member.isInLine = false
    return member
  }
}

/** What all workloads of a reactor share. */
export class TurnShares {
  readonly #turns: TurnSource
  readonly #limits: TurnLimits
  /** Workloads with handshakes in line, in the order of their turn. */
  readonly #handshaking: TurnShare[] = []
  #stepTurn = -1
  #stepsLeft = 0
  #lastReader: TurnShare | null = null
  #lastReadMs = -COMPANY_MS
  #companyUntilMs = -COMPANY_MS

  constructor(turns: TurnSource, limits: TurnLimits = TURN_LIMITS) {
    this.#turns = turns
    this.#limits = limits
  }

  /** The share of one more workload. Nothing needs to be closed. */
  open(): TurnShare {
    return new TurnShare(this.#turns, this)
  }

  /** For a TurnShare: is there a step left for somebody who comes now? */
  takeStep(): boolean {
    this.#refill()
    if (this.#handshaking.length > 0 || this.#stepsLeft <= 0) return false
    this.#stepsLeft--
    return true
  }

  /** For a TurnShare that reads: how much it may in a turn. */
  turnBytesOf(share: TurnShare): number {
    const { nowMs } = this.#turns
    if (share !== this.#lastReader) {
      if (nowMs - this.#lastReadMs < COMPANY_MS) this.#companyUntilMs = nowMs + COMPANY_MS
      this.#lastReader = share
    }
    this.#lastReadMs = nowMs
    const { companyBytes } = this.#limits
    return nowMs < this.#companyUntilMs ? companyBytes : Math.max(companyBytes, TURN_SHARE_BYTES)
  }

  /** For a TurnShare: it has handshakes in line from now on. */
  join(share: TurnShare): void {
    this.#handshaking.push(share)
    if (this.#handshaking.length === 1) this.#turns.inNextTurn(() => this.#run())
  }

  #refill(): void {
    if (this.#stepTurn === this.#turns.turnCount) return
    this.#stepTurn = this.#turns.turnCount
    this.#stepsLeft = this.#limits.handshakeSteps
  }

  #run(): void {
    this.#refill()
    while (this.#stepsLeft > 0) {
      const share = this.#handshaking[0]
      if (share === undefined) return
      if (share.stepHandshake()) this.#stepsLeft--
      this.#handshaking.shift()
      if (share.hasHandshakes) this.#handshaking.push(share)
    }
    if (this.#handshaking.length > 0) this.#turns.inNextTurn(() => this.#run())
  }
}

/** The share of one workload. */
export class TurnShare {
  readonly #turns: TurnSource
  readonly #all: TurnShares
  readonly #readers = new Line()
  readonly #handshakes = new Line()
  #turn = -1
  /** What may still be read in this turn; below zero: read ahead of the next. */
  #creditBytes = 0

  constructor(turns: TurnSource, all: TurnShares) {
    this.#turns = turns
    this.#all = all
  }

  /** May `member` read now? If not it stands in line. */
  mayRead(member: ShareMember): boolean {
    if (member.isInLine) return false
    this.#refill()
    if (this.#creditBytes > 0 && this.#readers.isEmpty) return true
    const isFirst = this.#readers.isEmpty
    this.#readers.push(member)
    if (isFirst) this.#turns.inNextTurn(() => this.#runReaders())
    return false
  }

  /** What may be read at once: at least a byte, when reading was allowed. */
  get creditBytes(): number {
    return this.#creditBytes
  }

  spend(bytes: number): void {
    this.#creditBytes -= bytes
  }

  /** May `member` go on with its handshake now? If not it stands in line. */
  mayHandshake(member: ShareMember): boolean {
    if (member.isInLine) return false
    if (this.#handshakes.isEmpty && this.#all.takeStep()) return true
    const isFirst = this.#handshakes.isEmpty
    this.#handshakes.push(member)
    if (isFirst) this.#all.join(this)
    return false
  }

  get hasHandshakes(): boolean {
    return !this.#handshakes.isEmpty
  }

  /** For TurnShares: the next handshake in line; false when it was over already. */
  stepHandshake(): boolean {
    return this.#handshakes.shift()?.runInTurn() ?? false
  }

  #refill(): void {
    if (this.#turn === this.#turns.turnCount) return
    this.#turn = this.#turns.turnCount
    const turnBytes = this.#all.turnBytesOf(this)
    this.#creditBytes = Math.min(turnBytes, this.#creditBytes + turnBytes)
  }

  #runReaders(): void {
    this.#refill()
    while (this.#creditBytes > 0 && !this.#readers.isEmpty) this.#readers.shift()?.runInTurn()
    if (!this.#readers.isEmpty) this.#turns.inNextTurn(() => this.#runReaders())
  }
}
