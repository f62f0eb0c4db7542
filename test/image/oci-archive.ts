// SPDX-License-Identifier: Apache-2.0
// The archive as a container runtime reads it: every digest is that of its blob, and the same layers give the same bytes.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Layer } from '../../image/contents.ts'
import { layerPaths, writeOciArchive } from '../../image/oci-archive.ts'

const directory = mkdtempSync(join(tmpdir(), 'oci-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const layers: readonly Layer[] = [
  {
    files: new Map([['etc/b/passwd', { mode: 0o644, text: 'root\n' }]]),
    directories: { 'run/x': 0o755, tmp: 0o1777 },
  },
  { files: new Map([['app/y', { mode: 0o755, source: import.meta.filename }]]), directories: {} },
]
const read = (archive: string, path: string): Buffer =>
  execFileSync('tar', ['-xOf', archive, path], { maxBuffer: 1 << 28 })

t.test('directories come before what is in them', async (t) => {
  t.same(layerPaths(layers[0] as Layer), ['etc', 'etc/b', 'etc/b/passwd', 'run', 'run/x', 'tmp']) // as: the first of two
})

t.test('every blob is what its digest says, and all are named', async (t) => {
  const archive = join(directory, 'one.tar')
  const { digest } = writeOciArchive(layers, { file: archive, name: 'localhost/x/y:1' })
  const blob = (name: string): Buffer => read(archive, `blobs/sha256/${name.replace('sha256:', '')}`)
  const index = JSON.parse(read(archive, 'index.json').toString())
  t.equal(index.manifests[0].digest, digest)
  t.same(index.manifests[0].annotations, {
    'io.containerd.image.name': 'localhost/x/y:1',
    'org.opencontainers.image.ref.name': '1',
  })
  const manifest = JSON.parse(blob(digest).toString())
  const config = JSON.parse(blob(manifest.config.digest).toString())
  t.same(
    manifest.layers.map(({ digest }: { digest: string }) => digest),
    config.rootfs.diff_ids,
  )
  for (const { digest, size } of [index.manifests[0], manifest.config, ...manifest.layers]) {
    t.equal(`sha256:${createHash('sha256').update(blob(digest)).digest('hex')}`, digest)
    t.equal(blob(digest).length, size)
  }
  t.match(config.config, { User: '65532:65532', Entrypoint: ['/usr/local/bin/node', '/app/image/entry.mjs'] })
  t.same(readdirSync(directory), ['one.tar'], 'nothing else is left')
})

t.test('an image may start something else', async (t) => {
  const archive = join(directory, 'other.tar')
  writeOciArchive(layers, { file: archive, name: 'x:1', entrypoint: ['/app/y', '--now'] })
  const blobs = execFileSync('tar', ['-tf', archive]).toString().split('\n')
  const texts = blobs.map((blob) => (blob.startsWith('blobs/') ? read(archive, blob).toString() : ''))
  const config = texts.find((text) => text.startsWith('{') && text.includes('"Entrypoint"'))
  t.same(JSON.parse(config ?? '{}').config?.Entrypoint, ['/app/y', '--now'])
})

t.test('the same layers give the same bytes', async (t) => {
  const files = ['two.tar', 'three.tar'].map((name) => join(directory, name))
  for (const file of files) writeOciArchive(layers, { file, name: 'x:1' })
  const [two, three] = files.map((file) => readFileSync(file))
  t.ok(two?.equals(three ?? Buffer.alloc(0)))
})
