// SPDX-License-Identifier: Apache-2.0
// What our parsers make of a whole text, as plain messages that another parser's can be compared with.
import type { Refusal } from '../../mesh/errors/refusal.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import { type MessageHandler, MessageReader } from '../../mesh/http1/message-reader.ts'
import { type BodyLength, parseRequestHead } from '../../mesh/http1/request-head.ts'
import { parseResponseHead } from '../../mesh/http1/response-head.ts'
import type { Block } from '../../mesh/reactor/byte-stream.ts'

/** A complete message. */
export interface Message {
  /** Method and path, or the status. */
  readonly line: string
  /** Names and values, without fields of the connection and Host. */
  readonly fields: readonly string[]
  readonly body: string
  readonly trailers: readonly string[]
}

abstract class Reading implements MessageHandler {
  readonly messages: Message[] = []
  leftBytes = 0
  protected isLast = false
  protected current = { line: '', fields: [] as readonly string[] }
  #body = ''
  #trailers: readonly string[] = []
  abstract onHead(text: string): BodyLength | 'interim' | null
  onBody(block: Block, start: number, end: number): void {
    this.#body += block.bytes.toString('latin1', start, end)
  }
  onTrailers(headers: HeaderList): void {
    this.#trailers = headers
  }
  onMessageEnd(): void {
    this.messages.push({ ...this.current, body: this.#body, trailers: this.#trailers })
    this.#body = ''
    this.#trailers = []
  }
  onFault(_refusal: Refusal): void {
    this.isLast = true
  }
  read(text: string): readonly Message[] {
    const reader = new MessageReader(this)
    const block = { bytes: Buffer.from(text, 'latin1'), address: 0 }
    let at = 0
    for (let from = -1; at < text.length && at !== from; ) {
      from = at
      at = reader.read(block, at, text.length)
      if (this.isLast && reader.isDone) break
      reader.next()
    }
    reader.end()
    this.leftBytes = text.length - at
    return this.messages
  }
}

const isOwn = (name: string) => name.startsWith(':') || name === 'te' || name === 'host'

function withoutOwn(headers: HeaderList): readonly string[] {
  return headers.filter((_, index) => !isOwn(headers[index - (index % 2)] ?? ''))
}

class RequestReading extends Reading {
  onHead(text: string): BodyLength | null {
    const head = parseRequestHead(text, 'http')
    if (head.kind === 'refusal') return null
    this.isLast = !head.isKeptAlive
    this.current = { line: `${head.method} ${head.headers[7]}`, fields: withoutOwn(head.headers) }
    return head.body
  }
}

class ResponseReading extends Reading {
  onHead(text: string): BodyLength | 'interim' | null {
    const head = parseResponseHead(text, 'GET')
    if (head.kind === 'refusal') return null
    if (head.status < 200) return 'interim'
    this.isLast = true
    this.current = { line: String(head.status), fields: withoutOwn(head.headers) }
    return head.body
  }
}

/** The requests of a text that are whole, up to the first that is refused or that closes. */
export function readRequests(text: string): readonly Message[] {
  return new RequestReading().read(text)
}

/** The answer to a GET that a text is, if it is one and nothing follows: a connection with bytes after an answer is not used again. */
export function readResponse(text: string): readonly Message[] {
  const reading = new ResponseReading()
  const messages = reading.read(text)
  return reading.leftBytes === 0 ? messages : []
}
