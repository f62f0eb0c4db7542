// SPDX-License-Identifier: Apache-2.0
// Sends spans to a collector, in batches, from main: workers only write lines. Loaded only where a collector is configured.
// Whatever the collector does, memory is bounded, spans that find no room are lost and counted, and nothing waits for them.
//
//   idle → waiting (for more of a batch) → sending → idle;   a failed batch is sent again after a while, before all others
import { REASONS } from '../errors/reasons.ts'
import { Backoff } from '../runtime/backoff.ts'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import type { PostOutcome, PostSpans } from './post-spans.ts'

/** Spans that wait to be sent, about 5,000; those beyond are lost. */
const MAX_QUEUED_BYTES = 4_194_304
/** Spans of one request: made in about 4 ms, which main is busy for. */
const MAX_BATCH_SPANS = 128
/** A batch that is not full is sent after this. */
const BATCH_INTERVAL_MS = 1000
/** A collector that is silent for so long has not taken the batch. */
const EXPORT_TIMEOUT_MS = 10_000
/** Before a batch that was not taken is sent again; doubled each time. */
const RETRY_FIRST_MS = 1000
/** And not longer than this. */
const RETRY_MAX_MS = 30_000
/** The end of the process waits so long for the last batches. */
const FLUSH_TIMEOUT_MS = 2000

/** What it is made of. */
export interface SpanExporterOptions {
  readonly post: PostSpans
  /** The document that is posted for lines that were added. */
  readonly document: (lines: readonly string[]) => string
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

/** add()… close(). */
export class SpanExporter {
  /** Taken by the collector. */
  sentCount = 0
  /** Never taken: no room, refused, or the process ended. */
  lostCount = 0
  readonly #options: SpanExporterOptions
  readonly #backoff: Backoff
  readonly #queue: string[] = []
  #queuedBytes = 0
  #timer: ClockTimer | null = null
  /** Set while the batch at the head was not taken and waits. */
  #retryTimer: ClockTimer | null = null
  #sending: Promise<void> | null = null
  #abort = new AbortController()
  #isFailing = false
  #isClosed = false

  constructor(options: SpanExporterOptions) {
    this.#options = options
    const { random } = options
    this.#backoff = new Backoff({ initialMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS, random })
  }

  /** Takes the line of a span. */
  add(line: string): void {
    if (this.#isClosed || this.#queuedBytes + line.length > MAX_QUEUED_BYTES) {
      this.lostCount++
      return
    }
    this.#queue.push(line)
    this.#queuedBytes += line.length
    if (this.#sending !== null || this.#retryTimer !== null) return
    if (this.#queue.length >= MAX_BATCH_SPANS) this.#send()
    else this.#timer ??= this.#options.clock.startTimer(BATCH_INTERVAL_MS, () => this.#send())
  }

  /** Sends what there is, once; resolves when it is there, or after FLUSH_TIMEOUT_MS. */
  async flush(): Promise<void> {
    let timer: ClockTimer | undefined
    const late = new Promise<void>((resolve) => {
      timer = this.#options.clock.startTimer(FLUSH_TIMEOUT_MS, resolve)
    })
    this.#send()
    await Promise.race([this.#sending, late])
    timer?.cancel()
  }

  /** Flushes, then counts what is left as lost. */
  async close(): Promise<void> {
    await this.flush()
    this.#isClosed = true
    this.#abort.abort()
    await this.#sending
    this.#timer?.cancel()
    this.#retryTimer?.cancel()
    this.#take(this.#queue.length, 'lost')
  }

  #send(): void {
    this.#timer?.cancel()
    this.#retryTimer?.cancel()
    this.#timer = null
    this.#retryTimer = null
    if (this.#sending !== null || this.#isClosed) return
    this.#sending = this.#sendAll().finally(() => {
      this.#sending = null
    })
  }

  async #sendAll(): Promise<void> {
    const { post, document, clock } = this.#options
    while (this.#queue.length > 0 && !this.#isClosed) {
      const batch = this.#queue.slice(0, MAX_BATCH_SPANS)
      const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(EXPORT_TIMEOUT_MS)])
      const outcome = await post(document(batch), signal)
      this.#tell(outcome)
      if (outcome.kind === 'failed') {
        this.#retryTimer = clock.startTimer(this.#backoff.next(), () => this.#send())
        return
      }
      this.#backoff.reset()
      const rejected =
        outcome.kind === 'refused' ? batch.length : Math.min(outcome.rejectedCount, batch.length)
      this.#take(batch.length - rejected, 'sent')
      this.#take(rejected, 'lost')
    }
  }

  #take(count: number, end: 'sent' | 'lost'): void {
    for (const line of this.#queue.splice(0, count)) this.#queuedBytes -= line.length
    if (end === 'sent') this.sentCount += count
    else this.lostCount += count
  }

  /** Once for each time that it begins to fail, and that it is well again. */
  #tell(outcome: PostOutcome): void {
    const { log } = this.#options
    const isFailing = outcome.kind !== 'taken'
    if (isFailing && !this.#isFailing && !this.#isClosed) {
      const { fix } = REASONS.SPANS_UNSENT
      log.warn({ reason: 'SPANS_UNSENT', detail: outcome.detail, fix }, 'the collector does not take spans')
    } else if (!isFailing && this.#isFailing) log.info({}, 'the collector takes spans again')
    this.#isFailing = isFailing
  }
}
