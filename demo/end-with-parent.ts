// SPDX-License-Identifier: Apache-2.0
// Ends a process of the demo when the process that started it has died, however that died: the kernel sends SIGTERM, as
// Ctrl-C would have in the end. Preloaded by `node --import`, because the product's own processes know no parent.
import { pathToFileURL } from 'node:url'
import { prctl } from '../mesh/reactor/ffi/libc.ts'

/** linux/prctl.h */
const PR_SET_PDEATHSIG = 1
const SIGTERM = 15

/** Flags for a node that we start. */
export function endWithParent(): readonly string[] {
  return ['--import', `${pathToFileURL(import.meta.filename)}?parent=${process.pid}`]
}

const parent = new URL(import.meta.url).searchParams.get('parent')
if (parent !== null) {
  prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0)
  if (process.ppid !== Number(parent)) process.kill(process.pid, SIGTERM) // it had died before we asked
}
