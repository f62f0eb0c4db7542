// SPDX-License-Identifier: Apache-2.0
// The key of a node: made once, refused when others may have seen it.
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { assertPrivate, openNodeKey } from '../../../mesh/snapshot/node-key.ts'

t.test('processes that start together get one key, in a directory of their own', async (t) => {
  const directory = join(t.testdir(), 'new', 'state')
  const keys = await Promise.all(Array.from({ length: 8 }, () => openNodeKey(directory)))
  t.equal(keys[0]?.length, 32)
  t.ok(keys.every((key) => key.equals(keys[0] ?? Buffer.alloc(0))))
  t.same(readdirSync(directory), ['node.key'])
  t.equal(statSync(directory).mode & 0o777, 0o700)
  t.equal(statSync(join(directory, 'node.key')).mode & 0o777, 0o600)
  t.same(await openNodeKey(directory), readFileSync(join(directory, 'node.key')), 'nor is it made again')
})

t.test('a key that others may read, a directory that others may write, a broken key: refused', async (t) => {
  const directory = t.testdir()
  chmodSync(directory, 0o755)
  await openNodeKey(directory)
  chmodSync(join(directory, 'node.key'), 0o640)
  await t.rejects(openNodeKey(directory), { code: 'SNAPSHOT_PERMISSIONS', message: /node\.key has mode 640/ })
  chmodSync(join(directory, 'node.key'), 0o600)
  chmodSync(directory, 0o777)
  await t.rejects(openNodeKey(directory), { code: 'SNAPSHOT_PERMISSIONS', message: /mode 777/ })
  chmodSync(directory, 0o700)
  writeFileSync(join(directory, 'node.key'), 'short')
  await t.rejects(openNodeKey(directory), { code: 'SNAPSHOT_INVALID' })
})

t.test('a file of another user is not ours', (t) => {
  const own = process.getuid?.() ?? 0
  t.doesNotThrow(() => assertPrivate('x', { mode: 0o100600, uid: own }))
  t.throws(() => assertPrivate('x', { mode: 0o100600, uid: own + 1 }), { code: 'SNAPSHOT_PERMISSIONS' })
  t.end()
})

t.test('a place that is no directory is an error of the file system', async (t) => {
  const directory = t.testdir({ file: '' })
  mkdirSync(join(directory, 'sub'))
  await t.rejects(openNodeKey(join(directory, 'file')), { code: 'EEXIST' })
})
