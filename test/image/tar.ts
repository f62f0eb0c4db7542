// SPDX-License-Identifier: Apache-2.0
// Archives that the system's tar reads as we meant them.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { TAR_END, tarHeader, tarPadding } from '../../image/tar.ts'

const directory = mkdtempSync(join(tmpdir(), 'tar-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const archive = join(directory, 'some.tar')

function write(files: ReadonlyMap<string, Buffer>): void {
  const parts = [...files].flatMap(([path, content]) => [
    tarHeader({ path, kind: 'file', mode: 0o640, sizeBytes: content.length }),
    content,
    tarPadding(content.length),
  ])
  writeFileSync(archive, Buffer.concat([...parts, TAR_END]))
}

t.test('what is put in comes out', async () => {
  const name = fc.stringMatching(/^[a-z@][a-z.@_-]{0,30}$/)
  const path = fc.array(name, { minLength: 1, maxLength: 5 }).map((names) => names.join('/'))
  fc.assert(
    fc.property(path, fc.uint8Array({ maxLength: 1500 }), (where, bytes) => {
      write(new Map([[where, Buffer.from(bytes)]]))
      const out = execFileSync('tar', ['-xOf', archive, where])
      return out.equals(Buffer.from(bytes))
    }),
    { numRuns: 30 },
  )
})

t.test('owner, time and mode are those of nobody’s machine', async (t) => {
  const parts = [
    tarHeader({ path: 'tmp', kind: 'directory', mode: 0o1777, sizeBytes: 0 }),
    tarHeader({ path: 'tmp/x', kind: 'file', mode: 0o755, sizeBytes: 0 }),
    TAR_END,
  ]
  writeFileSync(archive, Buffer.concat(parts))
  const said = execFileSync('tar', ['-tvf', archive, '--utc', '--full-time'], { encoding: 'utf8' })
  t.same(said.trim().split('\n'), [
    'drwxrwxrwt root/root         0 1970-01-01 00:00:00 tmp/',
    '-rwxr-xr-x root/root         0 1970-01-01 00:00:00 tmp/x',
  ])
})

t.test('a path may have 255 bytes, where a slash divides it well', async (t) => {
  const long = `${'d'.repeat(150)}/${'f'.repeat(100)}`
  write(new Map([[long, Buffer.from('deep')]]))
  execFileSync('tar', ['-xf', archive, '-C', directory])
  t.equal(readFileSync(join(directory, long), 'utf8'), 'deep')
  t.equal(statSync(join(directory, long)).mode & 0o777, 0o640)
  const tooLong = `${'d'.repeat(150)}/${'f'.repeat(101)}`
  t.throws(() => tarHeader({ path: tooLong, kind: 'file', mode: 0, sizeBytes: 0 }), /too long/)
})
