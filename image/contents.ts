// SPDX-License-Identifier: Apache-2.0
// What is in the image: Node with the libraries it is linked to, the locked packages, our own parts. The shell is for
// the few lines that restart a supervisor (mesh/generations/keep.sh).
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { isLoaded, type PackageLock, packagesAtRunTime } from './locked-packages.ts'

/** Where the parts lie. */
const HOME = 'app'
/** Who runs the image where nobody says otherwise. */
export const IMAGE_USER = 65_532
export const NODE_PATH = '/usr/local/bin/node'
const SHELL_PATH = '/bin/sh'
/** Takes the name of a part and its options. */
export const ENTRY_PATH = `/${HOME}/image/entry.mjs`

/** Of the project: everything that runs in a cluster, and the command that looks into it. */
const PARTS = ['mesh', 'ztunnel', 'waypoint', 'controller', 'cli', 'proto/generated']
/** Our own sources, and the generated ones; types are not loaded. */
const PART_FILE = /(?<!\.d)\.(ts|js)$/
const SINGLE_FILES = [
  'package.json',
  'LICENSE',
  'image/entry.mjs',
  'cli/sidestep.mjs',
  'mesh/generations/keep.sh',
  'cni/sidestep-cni',
]
const TEXTS: Readonly<Record<string, string>> = {
  'etc/passwd': `root:x:0:0:root:/:/sbin/nologin\nsidestep:x:${IMAGE_USER}:${IMAGE_USER}:sidestep:/:/sbin/nologin\n`,
  'etc/group': `root:x:0:\nsidestep:x:${IMAGE_USER}:\n`,
  'etc/nsswitch.conf': 'hosts: files dns\n',
}
/** Where volumes are mounted, or scratch. */
const EMPTY_DIRECTORIES: Readonly<Record<string, number>> = {
  proc: 0o755,
  sys: 0o755,
  dev: 0o755,
  tmp: 0o1777,
  'run/sidestep': 0o755,
  'var/lib/sidestep': 0o755,
  'var/lib/sidestep-controller': 0o755,
}

/** A file of the image: a copy of one here, or a text. */
export type ImageFile =
  | { readonly mode: number; readonly source: string }
  | { readonly mode: number; readonly text: string }

/** One layer: files and empty directories by their path in the image. */
export interface Layer {
  readonly files: ReadonlyMap<string, ImageFile>
  readonly directories: Readonly<Record<string, number>>
}

/** The layers, what changes least first. @throws Error when a package is not installed as locked */
export function imageLayers(root: string): readonly Layer[] {
  const [base, packages, parts] = [new Map(), new Map(), new Map()] as Map<string, ImageFile>[] // as: empty
  if (base === undefined || packages === undefined || parts === undefined) throw new Error('three layers')
  const node = join(root, 'node_modules/node/bin/node')
  base.set(NODE_PATH.slice(1), { mode: 0o755, source: node })
  const native = join(root, 'node_modules/@koromix/koffi-linux-x64/linux_x64/koffi.node')
  base.set(SHELL_PATH.slice(1), { mode: 0o755, source: realpathSync(SHELL_PATH) })
  for (const library of [node, native, SHELL_PATH].flatMap(librariesOf))
    base.set(library.slice(1), { mode: 0o755, source: realpathSync(library) })
  for (const [path, text] of Object.entries(TEXTS)) base.set(path, { mode: 0o644, text })

  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as PackageLock // as: npm's
  for (const [path, { version, optional }] of packagesAtRunTime(lock)) {
    if (!existsSync(join(root, path)) && optional) continue // for another machine
    const { version: found } = JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'))
    if (found !== version) throw new Error(`${path} is ${found}, the lock says ${version}: npm run setup`)
    addFiles(packages, root, path, isLoaded)
  }
  for (const path of PARTS)
    addFiles(parts, root, path, (file, kind) => kind === 'directory' || PART_FILE.test(file))
  for (const path of SINGLE_FILES) parts.set(`${HOME}/${path}`, { mode: 0o644, source: join(root, path) })
  return [
    { files: base, directories: EMPTY_DIRECTORIES },
    { files: packages, directories: {} },
    { files: parts, directories: {} },
  ]
}

function addFiles(
  files: Map<string, ImageFile>,
  root: string,
  start: string,
  isWanted: (path: string, kind: 'file' | 'directory') => boolean,
): void {
  for (const queue = ['']; queue.length > 0; ) {
    const directory = queue.pop() ?? ''
    for (const entry of readdirSync(join(root, start, directory), { withFileTypes: true })) {
      const path = directory === '' ? entry.name : `${directory}/${entry.name}`
      const kind = entry.isDirectory() ? 'directory' : 'file'
      if (!isWanted(path, kind)) continue
      const source = join(root, start, path)
      if (kind === 'directory') queue.push(path)
      else if (entry.isFile()) files.set(`${HOME}/${start}/${path}`, { mode: 0o644, source })
    }
  }
}

/** The shared libraries a program is linked to, where it looks for them. */
function librariesOf(program: string): string[] {
  const said = execFileSync('ldd', [program], { encoding: 'utf8' })
  if (said.includes('not found')) throw new Error(`${program} misses libraries:\n${said}`)
  return [...said.matchAll(/(?:=> |^\t)(\/\S+) \(/gm)].map(([, path = '']) => path)
}

/** A file's content. */
export function contentOf(file: ImageFile): Buffer {
  return 'text' in file ? Buffer.from(file.text) : readFileSync(file.source)
}
