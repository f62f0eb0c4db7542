// SPDX-License-Identifier: Apache-2.0
// Which files of configuration there are under a directory, without reading them. Bounded; a link that leads back up is
// followed once; what begins with a dot is left out (editors' files, the hidden half of a mounted ConfigMap).
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

const MAX_FILES = 20_000 // files of configuration under one directory
const MAX_DIRECTORIES = 1_000 // directories below the configuration, each of which is watched
const MAX_DEPTH = 16 // levels of directories
const MAX_SCANNED_ENTRIES = 200_000 // names that are looked at, of whatever kind

const CONFIG_FILE = /\.(?:ya?ml|json)$/i

/** A file as it is on the disk. */
export interface FoundFile {
  /** Relative to the directory, with `/`. */
  readonly path: string
  readonly sizeBytes: number
  /** Another one means other content. */
  readonly stamp: string
}

/** What cannot be looked at: what is known of files under `path` stays in force. */
export interface ScanFault {
  /** Relative; '' is the directory itself. */
  readonly path: string
  readonly message: string
}

export interface Scan {
  /** In the order of their paths. */
  readonly files: readonly FoundFile[]
  /** Absolute: to be watched. */
  readonly directories: readonly string[]
  readonly faults: readonly ScanFault[]
  /** Why the directory itself cannot be read; null when it can. */
  readonly unreachable: string | null
}

/** Looks at everything under `root`. Never throws. */
export async function scanDirectory(root: string): Promise<Scan> {
  const files: FoundFile[] = []
  const directories: string[] = []
  const faults: ScanFault[] = []
  const seen = new Set<string>()
  let unreachable: string | null = null
  let entryCount = 0
  const queue: { readonly path: string; readonly depth: number }[] = [{ path: '', depth: 0 }]
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { path: at, depth } = next
    try {
      const absolute = join(root, at)
      const { dev, ino } = await stat(absolute)
      const identity = `${dev}:${ino}`
      if (seen.has(identity)) continue
      seen.add(identity)
      if (directories.length >= MAX_DIRECTORIES) throw new Error(`more than ${MAX_DIRECTORIES} directories`)
      const names = (await readdir(absolute)).toSorted()
      directories.push(absolute)
      for (const name of names) {
        if (name.startsWith('.')) continue
        if (++entryCount > MAX_SCANNED_ENTRIES) throw new Error(`more than ${MAX_SCANNED_ENTRIES} names`)
        const path = at === '' ? name : `${at}/${name}`
        const found = await look(join(root, path), CONFIG_FILE.test(name))
        if (found === undefined) continue
        if (found === 'directory') {
          if (depth < MAX_DEPTH) queue.push({ path, depth: depth + 1 })
          else faults.push({ path, message: `more than ${MAX_DEPTH} levels of directories` })
        } else if (typeof found === 'string') faults.push({ path, message: found })
        else if (files.length < MAX_FILES) files.push({ path, ...found })
        else throw new Error(`more than ${MAX_FILES} files`)
      }
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause)
      if (at === '' && directories.length === 0) unreachable = message
      faults.push({ path: at, message })
    }
  }
  return { files: files.toSorted(byPath), directories, faults, unreachable }
}

/** What a name stands for: a file of ours, a directory, nothing that concerns us, or why that cannot be told. */
async function look(
  absolute: string,
  isConfig: boolean,
): Promise<Omit<FoundFile, 'path'> | 'directory' | string | undefined> {
  try {
    const found = await stat(absolute)
    if (found.isDirectory()) return 'directory'
    // A FIFO or device would block or never end.
    if (!isConfig || !found.isFile()) return undefined
    const { dev, ino, size, mtimeMs, ctimeMs } = found
    return { sizeBytes: size, stamp: `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}` }
  } catch (cause) {
    // Gone between the two looks, or a link to nothing: a file that is not there.
    const isGone = (cause as NodeJS.ErrnoException).code === 'ENOENT' // as: fs throws nothing else
    if (isGone || !isConfig) return undefined
    return cause instanceof Error ? cause.message : String(cause)
  }
}

const byPath = (left: FoundFile, right: FoundFile): number => (left.path < right.path ? -1 : 1)
