// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compileCacheEnvironment } from '../../demo/compile-cache.ts'

t.test('the given one, or one of this checkout that nobody else may write', async (t) => {
  const root = t.testdir({})
  t.same(compileCacheEnvironment('/given', join(root, 'unused')), { NODE_COMPILE_CACHE: '/given' })
  t.notOk(existsSync(join(root, 'unused')))
  const own = join(root, 'cache', 'demo')
  t.same(compileCacheEnvironment(undefined, own), { NODE_COMPILE_CACHE: own })
  t.same(compileCacheEnvironment(undefined, own), { NODE_COMPILE_CACHE: own }, 'and again')
  chmodSync(own, 0o777)
  t.same(compileCacheEnvironment(undefined, own), {}, 'others could write what we run')
  writeFileSync(join(root, 'file'), '')
  t.same(compileCacheEnvironment(undefined, join(root, 'file', 'demo')), {}, 'it cannot be made')
})
