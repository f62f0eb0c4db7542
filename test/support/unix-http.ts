// SPDX-License-Identifier: Apache-2.0
// One HTTP request over a Unix socket.
import { request } from 'node:http'

/** Asks; `body` is sent as JSON. */
export function requestUnix(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body)
    const headers = text === '' ? {} : { 'content-type': 'application/json', 'content-length': text.length }
    const asked = request({
      socketPath,
      method,
      path,
      headers,
      agent: false,
      signal: AbortSignal.timeout(5000),
    })
    asked.on('error', reject)
    asked.on('response', (response) => {
      let answer = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (answer += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: answer }))
    })
    asked.end(text)
  })
}
