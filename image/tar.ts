// SPDX-License-Identifier: Apache-2.0
// Tar archives of which every byte follows from names and contents: owner root, time 0. SPEC POSIX.1-1988 ustar.

const BLOCK_BYTES = 512
const NAME_BYTES = 100
const PREFIX_BYTES = 155

/** One entry. `path` has neither a leading nor a trailing slash. */
export interface TarEntry {
  readonly path: string
  readonly kind: 'file' | 'directory'
  /** Permission bits. */
  readonly mode: number
  readonly sizeBytes: number
}

/** What goes before the content of an entry. @throws Error when the path is too long for the format */
export function tarHeader({ path, kind, mode, sizeBytes }: TarEntry): Buffer {
  const [prefix, name] = splitPath(kind === 'directory' ? `${path}/` : path)
  const header = Buffer.alloc(BLOCK_BYTES)
  header.write(name, 0)
  header.write(octal(mode, 8), 100)
  header.write(octal(0, 8), 108) // owner
  header.write(octal(0, 8), 116) // group
  header.write(octal(kind === 'directory' ? 0 : sizeBytes, 12), 124)
  header.write(octal(0, 12), 136) // time
  header.write(' '.repeat(8), 148) // the checksum is made as if it were blanks
  header.write(kind === 'directory' ? '5' : '0', 156)
  header.write('ustar\u000000', 257)
  header.write('root', 265)
  header.write('root', 297)
  header.write(prefix, 345)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

/** What goes behind a content of that length. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES)
}

/** What closes an archive. */
export const TAR_END: Buffer = Buffer.alloc(2 * BLOCK_BYTES)

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`
}

function splitPath(path: string): readonly [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= NAME_BYTES) return ['', path]
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)]
    if (name !== '' && Buffer.byteLength(name) <= NAME_BYTES && Buffer.byteLength(prefix) <= PREFIX_BYTES)
      return [prefix, name]
  }
  throw new Error(`too long for a tar archive: ${path}`)
}
