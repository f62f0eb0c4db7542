// SPDX-License-Identifier: Apache-2.0
// Requests to an apiserver: JSON documents and streams of JSON lines. They are our own, because the Watch of
// @kubernetes/client-node hides Retry-After, skips lines that it cannot read, has no limit for a line, and is too large for
// every node.
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import type { Clock } from '../runtime/clock.ts'
import type { AccessSource } from './access.ts'

const MAX_ANSWER_BYTES = 128 * 1024 * 1024 // one page of a list: 500 objects of the largest size are less
const MAX_LINE_BYTES = 8 * 1024 * 1024 // one event: an object of the largest size is a third of it
const APPLY_PATCH = 'application/apply-patch+yaml' // JSON is YAML
const CREATED = 201
const REQUEST_TIMEOUT_MS = 30_000 // an apiserver that says nothing for this long is not there

/** An answer that is no success. */
export class ApiError extends Error {
  readonly status: number
  /** What the server asks to wait; null when it does not say. */
  readonly retryAfterMs: number | null

  constructor(status: number, message: string, retryAfterMs: number | null = null) {
    super(message)
    this.name = 'ApiError'
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

/** Who owns the fields that we apply. SPEC Kubernetes "Server-Side Apply": an owner per field. */
export const FIELD_MANAGER = 'sidestep-controller'

type Query = Readonly<Record<string, string>>

/** One request. */
interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly query?: Query
  /** Sent as JSON. */
  readonly body?: unknown
  readonly contentType?: string
}

/** Waits that tests shorten. */
export interface ClientTiming {
  readonly requestTimeoutMs: number
}

/** The requests of one process to one apiserver. */
export class KubernetesClient {
  readonly #access: AccessSource
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #listeners = new Set<() => void>()
  /** The last request had no answer. */
  #isAway = false

  constructor(access: AccessSource, clock: Clock, timing: Partial<ClientTiming> = {}) {
    this.#access = access
    this.#clock = clock
    this.#timeoutMs = timing.requestTimeoutMs ?? REQUEST_TIMEOUT_MS
  }

  /** @throws ApiError for an answer that is no success, Error for none */
  async getJson(path: string, query: Query, signal: AbortSignal): Promise<unknown> {
    return await this.#json({ method: 'GET', path, query }, signal)
  }

  /** Creates. @throws ApiError: 409 when it is there already */
  async create(path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    return await this.#json({ method: 'POST', path, body }, signal)
  }

  /** Replaces; with metadata.resourceVersion only what nobody changed since. @throws ApiError: 409 when somebody did */
  async replace(path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    return await this.#json({ method: 'PUT', path, body }, signal)
  }

  /**
   * Server-side apply: creates, or takes over the fields that `body` names and drops those it named before.
   * `isForced`: also from another owner. @throws ApiError: 409 when another owns a field and it is not forced
   */
  async apply(
    path: string,
    body: unknown,
    signal: AbortSignal,
    { isForced = true, fieldManager = FIELD_MANAGER } = {},
  ): Promise<unknown> {
    const query = { fieldManager, ...(isForced && { force: 'true' }) }
    return await this.#json({ method: 'PATCH', path, query, body, contentType: APPLY_PATCH }, signal)
  }

  /**
   * Server-side apply that takes over nothing. `isNew`: it made the object; else somebody has made it meanwhile, and
   * what nobody owned there is ours now. @throws ApiError: 409 when another owns a field
   */
  async applyNew(
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<{ readonly object: unknown; readonly isNew: boolean }> {
    const query = { fieldManager: FIELD_MANAGER }
    const request = { method: 'PATCH', path, query, body, contentType: APPLY_PATCH } as const
    const { status, value } = await this.#read(request, signal)
    return { object: value, isNew: status === CREATED }
  }

  /** RFC 7386 merge patch. @throws ApiError */
  async merge(path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    return await this.#json(
      { method: 'PATCH', path, body, contentType: 'application/merge-patch+json' },
      signal,
    )
  }

  /** Deletes exactly the object of that uid. @throws ApiError: 404 when there is none, 409 when it is another one */
  async delete(path: string, uid: string, signal: AbortSignal): Promise<void> {
    const body = { preconditions: { uid }, propagationPolicy: 'Background' }
    await this.#json({ method: 'DELETE', path, body }, signal)
  }

  async #json(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    return (await this.#read(request, signal)).value
  }

  async #read(
    request: ApiRequest,
    signal: AbortSignal,
  ): Promise<{ readonly status: number; readonly value: unknown }> {
    const answer = await this.#open(request, signal)
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of this.#chunks(answer, this.#timeoutMs)) {
      length += chunk.length
      if (length > MAX_ANSWER_BYTES) throw new Error(`more than ${MAX_ANSWER_BYTES} bytes in one answer`)
      chunks.push(chunk)
    }
    const value = JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown // as: JSON.parse says any
    return { status: answer.statusCode ?? 0, value }
  }

  /**
   * JSON values, one per line; `onOpen` is called when the server has agreed. Ends when the server ends.
   * @throws ApiError for an answer that is no success, Error also when nothing comes for `idleMs`
   */
  async *getLines(
    path: string,
    query: Query,
    idleMs: number,
    onOpen: () => void,
    signal: AbortSignal,
  ): AsyncGenerator<unknown> {
    const answer = await this.#open({ method: 'GET', path, query }, signal)
    onOpen()
    let parts: Buffer[] = []
    let length = 0
    for await (const chunk of this.#chunks(answer, idleMs)) {
      let start = 0
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        const line = Buffer.concat([...parts, chunk.subarray(start, end)]).toString('utf8')
        parts = []
        length = 0
        start = end + 1
        if (line.trim() !== '') yield JSON.parse(line) as unknown // as: JSON.parse says any
      }
      parts.push(chunk.subarray(start))
      length += chunk.length - start
      if (length > MAX_LINE_BYTES) throw new Error(`an event has more than ${MAX_LINE_BYTES} bytes`)
    }
  }

  /**
   * Calls `listener` when somebody's request was answered after one that was not: who waits for longer need not. Call the result
   * to hear no more.
   */
  onBack(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Reads certificates and token anew before the next request. */
  reload(): void {
    this.#access.reload()
  }

  async #open(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const { server, options } = await this.#access.read()
    const url = new URL(server.replace(/\/$/, '') + request.path)
    for (const [key, value] of Object.entries(request.query ?? {})) url.searchParams.set(key, value)
    const answer = await this.#send(url, request, options, signal).catch((error: Error) => {
      if (!signal.aborted) this.#isAway = true
      throw error
    })
    if (this.#isAway) {
      this.#isAway = false
      for (const listener of [...this.#listeners]) listener()
    }
    const { statusCode = 0 } = answer
    if (statusCode >= 200 && statusCode < 300) return answer
    const text = await this.#errorText(answer)
    throw new ApiError(statusCode, `${statusCode} ${text}`, this.#retryAfter(answer))
  }

  #send(
    url: URL,
    { method, body, contentType = 'application/json' }: ApiRequest,
    options: RequestOptions,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const payload = body === undefined ? null : Buffer.from(JSON.stringify(body))
    const headers = {
      ...tidy(options.headers),
      ...(payload !== null && { 'Content-Type': contentType, 'Content-Length': payload.length }),
    }
    const request = send(url, { ...options, method, headers, signal }, resolve)
    // Stays after the answer: a connection that is cut later must not be an unheard error.
    request.on('error', reject)
    const timer = this.#clock.startTimer(this.#timeoutMs, () => {
      request.destroy(new Error(`no answer within ${this.#timeoutMs} ms`))
    })
    request.end(payload ?? undefined)
    return promise.finally(() => timer.cancel())
  }

  /** The body; nothing for `idleMs` is an error. */
  async *#chunks(answer: IncomingMessage, idleMs: number): AsyncGenerator<Buffer> {
    const watchdog = () =>
      this.#clock.startTimer(idleMs, () => answer.destroy(new Error(`nothing came for ${idleMs} ms`)))
    let timer = watchdog()
    try {
      for await (const chunk of answer) {
        timer.cancel()
        yield chunk as Buffer // as: no encoding was set
        timer = watchdog()
      }
    } finally {
      timer.cancel()
      answer.destroy()
    }
  }

  /** What the server says beside its number; short. */
  async #errorText(answer: IncomingMessage): Promise<string> {
    let text = ''
    try {
      for await (const chunk of this.#chunks(answer, this.#timeoutMs)) {
        text += chunk.toString('utf8')
        if (text.length > 4096) break
      }
      const status = JSON.parse(text) as { message?: unknown } | null // as: looked at before it is used
      if (typeof status?.message === 'string') text = status.message
    } catch {
      // No Status object: the text itself has to do.
    }
    return (text.trim() || (answer.statusMessage ?? '')).slice(0, 200)
  }

  #retryAfter({ headers }: IncomingMessage): number | null {
    const text = headers['retry-after']
    if (text === undefined) return null
    const seconds = /^\d{1,6}$/.test(text) ? Number(text) : (Date.parse(text) - this.#clock.nowMs) / 1000
    return Number.isFinite(seconds) ? Math.max(0, seconds * 1000) : null
  }
}

/** Header values as a request takes them; a token file may end in a line break. */
function tidy(headers: RequestOptions['headers']): Record<string, string> {
  const entries = Object.entries(headers ?? {}).map(([name, value]) => [name, String(value).trim()] as const)
  return { ...Object.fromEntries(entries), Accept: 'application/json' }
}
