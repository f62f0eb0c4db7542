// SPDX-License-Identifier: Apache-2.0
// Tokens in files that somebody else renews in place: a kubelet, an agent. Read anew for every use.
import { open } from 'node:fs/promises'
import { MeshError } from '../errors/mesh-error.ts'

/** Longest token: a service account's has 1 to 2 KiB. Of a longer file no more is read. */
export const MAX_TOKEN_FILE_BYTES = 8_192

/** The token, without white space around it. @throws CERT_UNAVAILABLE when there is none, or something else */
export async function readTokenFile(path: string): Promise<string> {
  try {
    const token = (await readStart(path, MAX_TOKEN_FILE_BYTES + 1)).trim()
    if (!/^[\x21-\x7e]+$/.test(token) || token.length > MAX_TOKEN_FILE_BYTES) throw new Error('not a token')
    return token
  } catch (cause) {
    throw new MeshError('CERT_UNAVAILABLE', { retryable: true, detail: `no token in ${path}`, cause })
  }
}

async function readStart(path: string, maxBytes: number): Promise<string> {
  const file = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxBytes), 0, maxBytes, null)
    return buffer.toString('latin1', 0, bytesRead)
  } finally {
    await file.close()
  }
}
