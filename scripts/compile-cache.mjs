// SPDX-License-Identifier: Apache-2.0
// Preloaded by each test file: what it loads is stripped of types and compiled once, not once a file. Not by NODE_COMPILE_CACHE,
// which the programs that tests start would inherit: they keep caches of their own.
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/sidestep-tests', import.meta.url)))
