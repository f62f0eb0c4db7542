// SPDX-License-Identifier: Apache-2.0
// Fetches a JSON Web Key Set: http and https, no redirects, bounded in size and time.
import type { JSONWebKeySet } from 'jose'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { MAX_KEY_SET_BYTES, MAX_KEYS } from './limits.ts'

/** @throws MeshError JWT_UNVERIFIABLE, with what was wrong. */
export async function fetchKeys(url: string, timeoutMs: number): Promise<JSONWebKeySet> {
  try {
    const signal = AbortSignal.timeout(timeoutMs)
    const answer = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/json' } })
    if (answer.status !== 200) {
      await answer.body?.cancel()
      throw unusable(`${url} answers ${answer.status}`)
    }
    return parseKeySet(await readBounded(answer, url), url)
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw unusable(`${url} cannot be fetched`, error)
  }
}

async function readBounded(answer: Response, url: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer.body ?? []) {
    size += chunk.length
    if (size > MAX_KEY_SET_BYTES) throw unusable(`${url} has more than ${MAX_KEY_SET_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** @throws MeshError JWT_UNVERIFIABLE: it is no key set. `from`: for people. */
export function parseKeySet(text: string, from: string): JSONWebKeySet {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw unusable(`${from} is no JSON`, error)
  }
  const keys = typeof value === 'object' && value !== null && 'keys' in value ? value.keys : null
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'object' && key !== null))
    throw unusable(`${from} is no key set`)
  if (keys.length > MAX_KEYS) throw unusable(`${from} has more than ${MAX_KEYS} keys`)
  return { keys }
}

function unusable(detail: string, cause?: unknown): MeshError {
  return new MeshError('JWT_UNVERIFIABLE', { side: 'upstream', retryable: true, detail, cause })
}
