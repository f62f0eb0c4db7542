// SPDX-License-Identifier: Apache-2.0
// What the processes of a demo have compiled, for those of the next one: a dozen of them start, and to strip the types of what they
// load takes each a second of a processor.
import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isPrivate } from '../mesh/generations/compile-cache.ts'

const OF_THIS_CHECKOUT = fileURLToPath(new URL('../node_modules/.cache/sidestep-demo', import.meta.url))

/** The environment of a process of the demo: of a cache that is there, or can be made, and that nobody else may write. */
export function compileCacheEnvironment(
  given = process.env.NODE_COMPILE_CACHE,
  directory = OF_THIS_CHECKOUT,
): { readonly NODE_COMPILE_CACHE?: string } {
  if (given !== undefined) return { NODE_COMPILE_CACHE: given }
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    return isPrivate(directory) ? { NODE_COMPILE_CACHE: directory } : {}
  } catch {
    return {} // the checkout is somebody else's: they compile for themselves
  }
}
