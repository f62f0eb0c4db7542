// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { epollLayout } from '../../../mesh/reactor/ffi/constants.ts'
import {
  allocateBlock,
  bindFunction,
  freeBlock,
  hasSymbol,
  openLibrary,
} from '../../../mesh/reactor/ffi/native.ts'
import { assertOpensslSupported } from '../../../mesh/reactor/ffi/openssl.ts'
import { assertReactorSupported } from '../../../mesh/reactor/self-test.ts'

t.test('this machine passes, and nothing stays open', async (t) => {
  const before = readdirSync('/proc/self/fd').length
  assertReactorSupported()
  assertOpensslSupported()
  t.equal(readdirSync('/proc/self/fd').length, before)
})

t.test('layouts are those of the architecture; one that nobody checked is refused', async (t) => {
  t.same(epollLayout('x64'), { eventBytes: 12, dataOffset: 4 })
  t.same(epollLayout('arm64'), { eventBytes: 16, dataOffset: 8 })
  t.throws(() => epollLayout('riscv64'), { code: 'NATIVE_UNSUPPORTED', detail: /riscv64/ })
})

t.test('a library or function that is missing is named', async (t) => {
  t.throws(() => openLibrary('libnone.so.9'), {
    code: 'NATIVE_UNSUPPORTED',
    detail: 'cannot load libnone.so.9',
  })
  const libc = openLibrary('libc.so.6')
  t.throws(() => bindFunction(libc, 'int no_such_call(int)'), {
    code: 'NATIVE_UNSUPPORTED',
    detail: 'no native function: int no_such_call(int)',
  })
  t.same([hasSymbol(libc, 'epoll_wait'), hasSymbol(libc, 'no_such_call')], [true, false])
})

t.test('the memory of a block goes back when it is freed, not when the collector comes', async (t) => {
  const residentKb = (): number =>
    Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1])
  const before = residentKb()
  const blocks = Array.from({ length: 8 }, () => allocateBlock(8_388_608))
  for (const { bytes } of blocks) bytes.fill(1)
  t.ok(residentKb() - before > 60_000)
  for (const block of blocks) freeBlock(block)
  t.ok(residentKb() - before < 20_000)
  for (const { bytes } of blocks) t.equal(bytes.length, 0, 'nobody can read it any more')
})
