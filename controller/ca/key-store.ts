// SPDX-License-Identifier: Apache-2.0
// Where the CA keeps what must survive it: keys, the state of a rotation, revocations. Small texts by name, changed
// by compare-and-swap, so that replicas never undo each other. Here: a directory of 0600 files; a Kubernetes Secret
// has the same face (its resourceVersion is the version).
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readdir, readFile, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../../mesh/errors/errno.ts'
import { MeshError } from '../../mesh/errors/mesh-error.ts'

/** One text with the version that a change must name. */
export interface StoredText {
  readonly text: string
  readonly version: string
}

/** A store. Its texts are secret. */
export interface KeyStore {
  /** The text of that name, or null. @throws CA_KEY when it is readable by others, SYSTEM_CALL when the disk fails */
  read(name: string): Promise<StoredText | null>
  /** Writes if nobody else has since `version` was read (null: since there was none). False: read again. */
  write(name: string, text: string, version: string | null): Promise<boolean>
}

const NAME = /^[a-z][a-z0-9-]{0,63}$/

/**
 * A store in a directory that replicas on one machine (or one shared file system with hard links) share. A text is
 * the file `<name>.<number>` with the highest number; who links the next number first has won.
 */
export function openDirectoryKeyStore(directory: string): KeyStore {
  return {
    read: async (name) => {
      assertName(name)
      for (;;) {
        const version = await newestVersion(directory, name)
        if (version === 0) return null
        const text = await readSecretFile(join(directory, `${name}.${version}`))
        // Null: another replica wrote the next one and removed this between our two looks.
        if (text !== null) return { text, version: String(version) }
      }
    },
    write: async (name, text, version) => {
      assertName(name)
      await mkdir(directory, { recursive: true, mode: 0o700 })
      const before = Number(version ?? 0)
      const path = join(directory, `${name}.${before + 1}`)
      if ((await newestVersion(directory, name)) !== before) return false
      if (!(await createFileAtomically(path, text))) return false
      // A replica that read long ago may have linked a number that was already taken and removed.
      if ((await newestVersion(directory, name)) !== before + 1) {
        await unlink(path).catch(ignoreMissing)
        return false
      }
      if (before > 0) await unlink(join(directory, `${name}.${before}`)).catch(ignoreMissing)
      return true
    },
  }
}

/** Reads a file nobody else may read; null when it is not there. @throws CA_KEY when others may read it */
export async function readSecretFile(path: string, forbiddenMode = 0o077): Promise<string | null> {
  try {
    const { mode } = await stat(path)
    if ((mode & forbiddenMode) !== 0) {
      throw new MeshError('CA_KEY', { detail: `${path} is readable by others: chmod 600` })
    }
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (cause instanceof MeshError) throw cause
    if (isErrno(cause, 'ENOENT')) return null
    if (isErrno(cause, 'EACCES')) throw new MeshError('CA_KEY', { detail: `${path} is unreadable`, cause })
    throw new MeshError('SYSTEM_CALL', { detail: `cannot read ${path}`, cause })
  }
}

/** Writes a whole 0600 file, or nothing. False when there is one already. @throws SYSTEM_CALL */
export async function createFileAtomically(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(temporary, path) // never replaces: of many that come here, one wins
    return true
  } catch (cause) {
    if (isErrno(cause, 'EEXIST')) return false
    throw new MeshError('SYSTEM_CALL', { detail: `cannot write ${path}`, cause })
  } finally {
    await unlink(temporary).catch(ignoreMissing)
  }
}

async function newestVersion(directory: string, name: string): Promise<number> {
  let files: string[]
  try {
    files = await readdir(directory)
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return 0
    throw new MeshError(isErrno(cause, 'EACCES') ? 'CA_KEY' : 'SYSTEM_CALL', {
      detail: `cannot list ${directory}`,
      cause,
    })
  }
  const versions = files
    .filter((file) => file.startsWith(`${name}.`))
    .map((file) => file.slice(name.length + 1))
    .filter((version) => /^[1-9]\d{0,14}$/.test(version))
  return Math.max(0, ...versions.map(Number))
}

/** For what may be gone already. */
export function ignoreMissing(error: unknown): void {
  if (!isErrno(error, 'ENOENT')) throw error
}

function assertName(name: string): void {
  if (!NAME.test(name)) throw new MeshError('INTERNAL', { detail: `no name for a stored text: ${name}` })
}
