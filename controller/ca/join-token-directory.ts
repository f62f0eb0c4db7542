// SPDX-License-Identifier: Apache-2.0
// Join tokens in a directory of 0600 files: `<id>.json` the record, `<id>.used` (by which key) and
// `<id>.revoked` its fate, `node.<name>` the token a node joined with. A fate is a file that can be created once: the kernel decides who won.
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
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
import { createFileAtomically, ignoreMissing, readSecretFile } from './key-store.ts'

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
    claim: async (id, keyHash) => {
      const record = await find(id)
      if (record === null || record.isRevoked) return false
      const used = join(directory, `${id}.used`)
      const isFirst = await createFileAtomically(used, keyHash)
      if (!isFirst && (await readSecretFile(used)) !== keyHash) return false
      const pointer = join(directory, `node.${record.node}`)
      if (!isFirst && (await exists(pointer))) return true
      await createFileAtomically(`${pointer}.${id}`, `${id}\n`)
      await rename(`${pointer}.${id}`, pointer).catch(ignoreMissing) // the same node, twice at once
      return true
    },
    revoke: async (id) => {
      // Not parsed: also a damaged token can be revoked.
      if (ID.test(id) && (await exists(join(directory, `${id}.json`))))
        await createFileAtomically(join(directory, `${id}.revoked`), '')
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
        if (!(await createFileAtomically(join(directory, `${id}.used`), ''))) continue
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

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return false
    throw new MeshError('SYSTEM_CALL', { detail: `cannot read ${path}`, cause })
  }
}
