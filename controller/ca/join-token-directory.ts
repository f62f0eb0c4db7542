// SPDX-License-Identifier: Apache-2.0
// Join tokens in a directory of 0600 files: `<id>.json` the record, `<id>.used` and `<id>.revoked` its fate,
// `node.<name>` the token a node joined with. A fate is a file that can be created once: the kernel decides who won.
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../../mesh/errors/errno.ts'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import {
  formatJoinToken,
  type JoinTokenRecord,
  type JoinTokenStatus,
  type JoinTokenStore,
  parseJoinToken,
} from './join-tokens.ts'
import { createFileAtomically, readSecretFile } from './key-store.ts'

const ID = /^[0-9a-f]{24}$/

/** The store in a directory, which is made when the first token is. */
export function openJoinTokenDirectory(directory: string): JoinTokenStore {
  const find = async (id: string): Promise<JoinTokenStatus | null> => {
    if (!ID.test(id)) return null
    const text = await readSecretFile(join(directory, `${id}.json`))
    if (text === null) return null
    const [isUsed, isRevoked] = await Promise.all(
      ['used', 'revoked'].map((fate) => exists(join(directory, `${id}.${fate}`))),
    )
    return { ...parseJoinToken(text, id), isUsed: isUsed === true, isRevoked: isRevoked === true }
  }
  return {
    find,
    add: async (record: JoinTokenRecord) => {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      await createFileAtomically(join(directory, `${record.id}.json`), formatJoinToken(record))
    },
    claim: async (id) => {
      const record = await find(id)
      if (record === null || record.isRevoked) return false
      if (!(await createOnce(join(directory, `${id}.used`)))) return false
      const pointer = join(directory, `node.${record.node}`)
      await createFileAtomically(`${pointer}.${id}`, `${id}\n`)
      await rename(`${pointer}.${id}`, pointer)
      return true
    },
    revoke: async (id) => {
      // Not parsed: also a damaged token can be revoked.
      if (ID.test(id) && (await exists(join(directory, `${id}.json`))))
        await createOnce(join(directory, `${id}.revoked`))
    },
    findByNode: async (node) => {
      const id = await readSecretFile(join(directory, `node.${node}`))
      return id === null ? null : await find(id.trim())
    },
    list: async () => {
      const records = await Promise.all((await idsIn(directory)).map(find))
      return records.filter((record) => record !== null)
    },
    purge: async (beforeMs) => {
      let removed = 0
      for (const id of await idsIn(directory)) {
        const record = await find(id).catch(() => null) // a damaged one tells no end: it is left to people
        if (record === null || record.isUsed || record.expiresAtMs >= beforeMs) continue
        // Whoever makes this file decides the fate of a token: now nobody joins with it any more.
        if (!(await createOnce(join(directory, `${id}.used`)))) continue
        for (const part of ['json', 'revoked', 'used'])
          await rm(join(directory, `${id}.${part}`), { force: true })
        removed++
      }
      return removed
    },
  }
}

async function idsIn(directory: string): Promise<string[]> {
  const files = await readdir(directory).catch((cause: unknown) => {
    if (isErrno(cause, 'ENOENT')) return []
    throw new MeshError('SYSTEM_CALL', { detail: `cannot list ${directory}`, cause })
  })
  return files.filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -5))
}

/** True for the one who made it. */
async function createOnce(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.sync() // a token must not become unused by a power failure
    } finally {
      await file.close()
    }
    return true
  } catch (cause) {
    if (isErrno(cause, 'EEXIST')) return false
    throw new MeshError('SYSTEM_CALL', { detail: `cannot write ${path}`, cause })
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return false
    throw new MeshError('SYSTEM_CALL', { detail: `cannot read ${path}`, cause })
  }
}
