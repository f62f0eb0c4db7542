// SPDX-License-Identifier: Apache-2.0
// One POST of JSON to Vault, bounded in time and size. node:https and not fetch, because Vault's certificate is mostly
// of a private CA and fetch takes no roots; and because fetch would follow a redirect and hand the token to whoever is
// named in it.
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { MeshError } from '../../mesh/errors/mesh-error.ts'

/** Longest answer of Vault: a chain of ten certificates has 20 KiB. */
export const MAX_VAULT_ANSWER_BYTES = 262_144
const MAX_ERROR_LENGTH = 512

/** What is sent. */
export interface JsonPost {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  readonly timeoutMs: number
  readonly tlsRootsPem?: string
}

/**
 * Posts and reads the JSON of an answer 200.
 * @throws MeshError CERT_UNAVAILABLE (retryable) when Vault is away, sealed, standby or overloaded; CERT_INVALID when
 * it refuses, with Vault's own words in the detail.
 */
export async function postJson(post: JsonPost): Promise<unknown> {
  const { status, text } = await send(post)
  const read = parse(text)
  if (status === 200 && read !== undefined) return read
  // Vault: 429 and 5xx are states that pass (472, 473: standby); 307 leads to the active node, which its own
  // forwarding reaches; 400, 403 and 404 will be the same next time.
  const isPassing = status === 429 || status === 472 || status === 473 || status >= 500 || status < 400
  throw new MeshError(isPassing ? 'CERT_UNAVAILABLE' : 'CERT_INVALID', {
    side: 'upstream',
    retryable: isPassing,
    detail: `Vault answered ${status}: ${errorsOf(read)}`,
  })
}

function send(post: JsonPost): Promise<{ status: number; text: string }> {
  const { url, headers, body, timeoutMs, tlsRootsPem } = post
  const bytes = Buffer.from(JSON.stringify(body))
  const options = {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json', 'content-length': bytes.length },
    signal: AbortSignal.timeout(timeoutMs),
  }
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(
        new MeshError('CERT_UNAVAILABLE', {
          side: 'upstream',
          retryable: true,
          detail: `Vault at ${url.host} does not answer: ${cause instanceof Error ? cause.message : cause}`,
          cause,
        }),
      )
    const onResponse = (response: IncomingMessage): void => {
      const chunks: Buffer[] = []
      let length = 0
      response.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length > MAX_VAULT_ANSWER_BYTES) response.destroy(new Error('the answer is too long'))
        else chunks.push(chunk)
      })
      response.on('error', fail)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      )
    }
    const tls = tlsRootsPem === undefined ? {} : { ca: tlsRootsPem }
    const request =
      url.protocol === 'https:'
        ? requestHttps(url, { ...options, ...tls }, onResponse)
        : requestHttp(url, options, onResponse)
    request.on('error', fail)
    request.end(bytes)
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function errorsOf(answer: unknown): string {
  const errors: unknown = typeof answer === 'object' && answer !== null ? Reflect.get(answer, 'errors') : []
  const text = Array.isArray(errors) ? errors.filter((error) => typeof error === 'string').join('; ') : ''
  return text.slice(0, MAX_ERROR_LENGTH)
}
