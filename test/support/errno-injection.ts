// SPDX-License-Identifier: Apache-2.0
// Makes the kernel itself fail chosen system calls of this thread, by a seccomp filter that looks at one argument. A
// filter cannot be taken away: choose a value that nothing else passes (an odd length, a descriptor of your own).
// SPEC seccomp(2), linux/filter.h, linux/seccomp.h (struct seccomp_data: nr 0, arch 4, instruction pointer 8, args 16).
import { prctl } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { systemError } from '../../mesh/reactor/socket-options.ts'

const PR_SET_SECCOMP = 22
const PR_SET_NO_NEW_PRIVS = 38
const SECCOMP_MODE_FILTER = 2
const RET_ALLOW = 0x7fff0000
const RET_ERRNO = 0x00050000
const LOAD = 0x20
const JUMP_IF_EQUAL = 0x15
const RETURN = 0x06

/** System call numbers per architecture. */
type Call = 'sendto' | 'accept4' | 'read' | 'write' | 'pipe2' | 'splice'
const CALLS: Readonly<Record<string, Readonly<Record<Call, number>>>> = {
  x64: { sendto: 44, accept4: 288, read: 0, write: 1, pipe2: 293, splice: 275 },
  arm64: { sendto: 206, accept4: 242, read: 63, write: 64, pipe2: 59, splice: 76 },
}

/** From now on `call` fails with `code` in this thread when its argument number `argument` is `value`. */
export function failSystemCall(call: Call, argument: number, value: number, code: number): void {
  const number = CALLS[process.arch]?.[call]
  if (number === undefined) throw new Error(`no system call numbers of ${process.arch}`)
  const program: ReadonlyArray<readonly [operation: number, yes: number, no: number, operand: number]> = [
    [LOAD, 0, 0, 0],
    [JUMP_IF_EQUAL, 0, 3, number],
    [LOAD, 0, 0, 16 + 8 * argument],
    [JUMP_IF_EQUAL, 0, 1, value],
    [RETURN, 0, 0, RET_ERRNO | code],
    [RETURN, 0, 0, RET_ALLOW],
  ]
  const filter = allocateBlock(program.length * 8 + 16)
  const header = program.length * 8
  program.forEach(([operation, yes, no, operand], index) => {
    filter.bytes.writeUInt16LE(operation, index * 8)
    filter.bytes[index * 8 + 2] = yes
    filter.bytes[index * 8 + 3] = no
    filter.bytes.writeUInt32LE(operand, index * 8 + 4)
  })
  filter.bytes.fill(0, header)
  filter.bytes.writeUInt16LE(program.length, header)
  filter.bytes.writeBigUInt64LE(BigInt(filter.address), header + 8)
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) throw systemError('prctl')
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter.address + header, 0, 0) !== 0)
    throw systemError('seccomp')
}
