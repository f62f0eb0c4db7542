// SPDX-License-Identifier: Apache-2.0
// A program that holds one thread of another process where it is, as a debugger would: `hold-thread.ts <thread id>`. It
// tells its parent when it holds it, and lets go with its own end. SPEC ptrace(2).
import { allocateBlock, bindFunction, openLibrary } from '../../mesh/reactor/ffi/native.ts'
import { systemError } from '../../mesh/reactor/socket-options.ts'

const PTRACE_SEIZE = 0x4206
const PTRACE_INTERRUPT = 0x4207
const WAIT_ALL = 0x40000000

const libc = openLibrary('libc.so.6')
const ptrace = bindFunction<(request: number, thread: number, address: number, data: number) => number>(
  libc,
  'int64_t ptrace(int, int, uintptr_t, uintptr_t)',
)
const waitpid = bindFunction<(thread: number, status: number, options: number) => number>(
  libc,
  'int waitpid(int, uintptr_t, int)',
)

const thread = Number(process.argv[2])
for (const request of [PTRACE_SEIZE, PTRACE_INTERRUPT])
  if (ptrace(request, thread, 0, 0) !== 0) throw systemError(`ptrace ${thread}`)
if (waitpid(thread, allocateBlock(8).address, WAIT_ALL) !== thread) throw systemError(`wait for ${thread}`)
process.on('disconnect', () => process.exit())
process.send?.('held')
