// SPDX-License-Identifier: Apache-2.0
// Posts spans to a collector: one request, one answer. SPEC OTLP 1.x §OTLP/HTTP Response: 200, perhaps a part of it taken;
// 429, 502, 503 and 504 say that it may be sent again, every other answer that it never will be taken.
import { type IncomingMessage, request } from 'node:http'

/** taken: but for so many. refused: for good. failed: it may be sent again. */
export type PostOutcome =
  | { readonly kind: 'taken'; readonly rejectedCount: number }
  | { readonly kind: 'refused'; readonly detail: string }
  | { readonly kind: 'failed'; readonly detail: string }

/** Sends a body. Never rejects. */
export type PostSpans = (body: string, signal: AbortSignal) => Promise<PostOutcome>

const RETRYABLE = [429, 502, 503, 504]
const MAX_ANSWER_BYTES = 65_536 // of a collector: a few numbers and one sentence
const MAX_DETAIL = 200

/** `endpoint`: as OTEL_EXPORTER_OTLP_ENDPOINT has it, `http://collector:4318`; spans go to `v1/traces` below it. */
export async function openCollector(endpoint: string): Promise<PostSpans> {
  const url = new URL(endpoint)
  url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`
  const send = url.protocol === 'https:' ? (await import('node:https')).request : request
  return (body, signal) =>
    new Promise((resolve) => {
      const failed = (error: Error): void => resolve({ kind: 'failed', detail: error.message })
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      const asked = send(url, { method: 'POST', headers, agent: false, signal }, (answer) => {
        readAnswer(answer).then(resolve, failed)
      })
      asked.on('error', failed)
      asked.end(body)
    })
}

async function readAnswer(answer: IncomingMessage): Promise<PostOutcome> {
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) {
    text += chunk
    if (text.length > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`)
  }
  const { statusCode = 0 } = answer
  if (statusCode >= 200 && statusCode < 300) return { kind: 'taken', rejectedCount: rejectedIn(text) }
  const detail = `${statusCode} ${text.trim().slice(0, MAX_DETAIL)}`.trim()
  return { kind: RETRYABLE.includes(statusCode) ? 'failed' : 'refused', detail }
}

/** SPEC OTLP: `{"partialSuccess":{"rejectedSpans":"3"}}`, a number of 64 bits as text. */
function rejectedIn(text: string): number {
  const rejected = /"rejectedSpans"\s*:\s*"?(\d{1,9})\b/.exec(text)?.[1]
  return Number(rejected ?? 0)
}
