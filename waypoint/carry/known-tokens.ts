// SPDX-License-Identifier: Apache-2.0
// What a worker knows of tokens. Main is asked once about a text, whoever brings it waits; verdicts are kept until they end, and
// no more of them than MAX_TOKEN_MEMORY_BYTES. They are found by the text and the rules that it was judged by.
import { createHash } from 'node:crypto'
import { refuse } from '../../mesh/errors/refusal.ts'
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import type { TokenRule } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import {
  MAX_TOKEN_CHARS,
  MAX_TOKEN_MEMORY_BYTES,
  MAX_TOKEN_QUESTIONS,
  TOKEN_DEADLINE_MS,
} from '../tokens/limits.ts'
import type { TokenVerdict } from '../tokens/token-verifier.ts'
import { MAX_WAITING } from './limits.ts'

/** Asks main; the answer comes with the key. */
export type AskToken = (key: string, token: string, rules: readonly TokenRule[]) => void
type Waiter = (verdict: TokenVerdict) => void

interface Kept {
  readonly verdict: TokenVerdict
  readonly untilMs: number
  readonly bytes: number
  /** It was asked for since it was last looked at for room. */
  isUsed: boolean
}

interface Question {
  readonly waiting: Waiter[]
  readonly deadline: Timer
  readonly bytes: number
}

export class KnownTokens {
  readonly #scheduler: Scheduler
  readonly #ask: AskToken
  /**
   * Those that were kept, or given another chance, longest ago first. Looking one up does not move it: each move makes the
   * table larger, and a table that has grown old is succeeded by old ones, which only a full collection frees.
   */
  readonly #kept = new Map<string, Kept>()
  readonly #questions = new Map<string, Question>()
  readonly #ruleNames = new WeakMap<TokenRule, string>()
  #bytes = 0

  constructor(scheduler: Scheduler, ask: AskToken) {
    this.#scheduler = scheduler
    this.#ask = ask
  }

  /** At once when it is known, else when main has answered; within TOKEN_DEADLINE_MS. */
  verify(token: string, rules: readonly TokenRule[], waiter: Waiter): void {
    if (token.length > MAX_TOKEN_CHARS) {
      waiter(unverified('JWT_INVALID', 'the token is too long'))
      return
    }
    const key = this.#keyOf(token, rules)
    const known = this.#find(key)
    if (known !== undefined) waiter(known)
    else this.#request(key, token, rules, waiter)
  }

  learn(key: string, verdict: TokenVerdict): void {
    const question = this.#questions.get(key)
    if (question === undefined) return // it came too late
    this.#questions.delete(key)
    question.deadline.cancel()
    this.#keep(key, verdict, question.bytes)
    for (const waiter of question.waiting) waiter(verdict)
  }

  close(): void {
    for (const key of [...this.#questions.keys()]) this.learn(key, unverified('SHUTDOWN', ''))
  }

  #find(key: string): TokenVerdict | undefined {
    const kept = this.#kept.get(key)
    if (kept === undefined) return undefined
    if (kept.untilMs <= this.#scheduler.nowMs) {
      this.#forget(key, kept)
      return undefined
    }
    kept.isUsed = true
    return kept.verdict
  }

  #request(key: string, token: string, rules: readonly TokenRule[], waiter: Waiter): void {
    const question = this.#questions.get(key)
    if (question !== undefined) {
      if (question.waiting.length < MAX_WAITING) question.waiting.push(waiter)
      else waiter(unverified('JWT_UNVERIFIABLE', 'too many requests wait for it'))
      return
    }
    if (this.#questions.size >= MAX_TOKEN_QUESTIONS) {
      waiter(unverified('JWT_UNVERIFIABLE', 'too many tokens are being verified'))
      return
    }
    const deadline = this.#scheduler.startTimer(TOKEN_DEADLINE_MS, () =>
      this.learn(key, unverified('JWT_UNVERIFIABLE', 'it took too long')),
    )
    this.#questions.set(key, { waiting: [waiter], deadline, bytes: token.length })
    this.#ask(key, token, rules)
  }

  #keep(key: string, verdict: TokenVerdict, bytes: number): void {
    if (verdict.keptMs <= 0) return
    const untilMs = this.#scheduler.nowMs + verdict.keptMs
    this.#kept.set(key, { verdict, untilMs, bytes, isUsed: false })
    this.#bytes += bytes
    // Who was asked for meanwhile goes to the end once; the loop comes to it again there.
    for (const [oldest, kept] of this.#kept) {
      if (this.#bytes <= MAX_TOKEN_MEMORY_BYTES) break
      this.#forget(oldest, kept)
      if (!kept.isUsed) continue
      kept.isUsed = false
      this.#kept.set(oldest, kept)
      this.#bytes += kept.bytes
    }
  }

  #forget(key: string, kept: Kept): void {
    this.#kept.delete(key)
    this.#bytes -= kept.bytes
  }

  /** Not a hash of it: for every request that would cost more than all the rest of looking it up. */
  #keyOf(token: string, rules: readonly TokenRule[]): string {
    let names = ''
    for (const rule of rules) names += this.#nameOf(rule)
    return `${names} ${token}`
  }

  /** Another text for every other rule. */
  #nameOf(rule: TokenRule): string {
    const known = this.#ruleNames.get(rule)
    if (known !== undefined) return known
    const { origin, issuer, audiences, keys } = rule
    const text = JSON.stringify([origin, issuer, audiences, keys])
    const name = createHash('sha256').update(text).digest('base64url')
    this.#ruleNames.set(rule, name)
    return name
  }
}

function unverified(code: 'JWT_INVALID' | 'JWT_UNVERIFIABLE' | 'SHUTDOWN', detail: string): TokenVerdict {
  return { refusal: refuse(code, detail), rule: -1, claims: {}, keptMs: 0 }
}
