// SPDX-License-Identifier: Apache-2.0
// Which packages a lock file wants at run time, and which of their files run there. Pure.

/** The lock file as far as it is read. */
export interface PackageLock {
  readonly packages: Readonly<Record<string, LockedPackage>>
}

/** One entry of it. */
export interface LockedPackage {
  readonly version?: string
  readonly dev?: boolean
  readonly devOptional?: boolean
  readonly optional?: boolean
}

/** Node itself is no package of the image: its binary is the image's own. */
const NODE_PACKAGE = /(^|\/)node_modules\/(node|node-bin-[^/]*|node-linux-[^/]*)$/
/** Types, maps, documents, sources of native parts: nothing of it is loaded. Licences stay. */
const NEVER_LOADED = /\.(d\.[mc]?ts|map|md|markdown|flow|tsbuildinfo|h|cc|cpp|c|gyp|gypi)$|(^|\/)\.[^/]+$/i
/** Folders of a package of the same kind, packages that are entries of their own, and binaries for other machines. */
const NEVER_ENTERED =
  /^(node_modules|\.[^/]*|tests?|__tests__|benchmarks?|examples?|docs?|prebuilds|vendor|musl_x64)$/

/** Folders of the packages, each relative to the root of the project. */
export function packagesAtRunTime(lock: PackageLock): ReadonlyMap<string, LockedPackage> {
  return new Map(
    Object.entries(lock.packages).filter(
      ([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional && !NODE_PACKAGE.test(path),
    ),
  )
}

/** `path` is relative to its package. Nested packages are entries of their own. */
export function isLoaded(path: string, kind: 'file' | 'directory'): boolean {
  if (kind === 'file') return !NEVER_LOADED.test(path)
  return !NEVER_ENTERED.test(path)
}
