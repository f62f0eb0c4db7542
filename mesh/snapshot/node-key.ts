// SPDX-License-Identifier: Apache-2.0
// The key with which a node seals what it keeps for itself. Made once; readable by its process alone.
import { randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../errors/errno.ts'
import { MeshError } from '../errors/mesh-error.ts'

const FILE = 'node.key'
const KEY_LENGTH = 32
const OTHERS = 0o077
const OTHERS_WRITE = 0o022

/** Mode and owner of a file or directory. */
export interface FileRights {
  readonly mode: number
  readonly uid: number
}

/** @throws MeshError SNAPSHOT_PERMISSIONS when others than this process may read a file, or write a directory */
export function assertPrivate(path: string, { mode, uid }: FileRights, isDirectory = false): void {
  const isOpen = (mode & (isDirectory ? OTHERS_WRITE : OTHERS)) !== 0
  // as: every system this runs on has users
  if (!isOpen && uid === (process.getuid as () => number)()) return
  const detail = `${path} has mode ${(mode & 0o777).toString(8)} and owner ${uid}`
  throw new MeshError('SNAPSHOT_PERMISSIONS', { detail })
}

/**
 * The key of this directory; makes both if need be. Two processes that start together get the same one.
 * @throws MeshError SNAPSHOT_PERMISSIONS, SNAPSHOT_INVALID; errors of the file system
 */
export async function openNodeKey(directory: string): Promise<Buffer> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  assertPrivate(directory, await stat(directory), true)
  const path = join(directory, FILE)
  const own = `${path}.${randomUUID()}`
  if (!(await exists(path))) {
    try {
      await writeFile(own, randomBytes(KEY_LENGTH), { mode: 0o600, flush: true })
      await link(own, path)
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
    } finally {
      await rm(own, { force: true })
    }
  }
  assertPrivate(path, await stat(path))
  const key = await readFile(path)
  if (key.length !== KEY_LENGTH) throw new MeshError('SNAPSHOT_INVALID', { detail: `${path} is no key` })
  return key
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}
