// SPDX-License-Identifier: Apache-2.0
// What the image of this checkout holds; that it runs is tried in test/nodes.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { contentOf, ENTRY_PATH, imageLayers, NODE_PATH } from '../../image/contents.ts'
import { ROOT } from '../support/documents.ts'

const MAX_IMAGE_BYTES = 200_000_000
const layers = imageLayers(ROOT)
const files = new Map(layers.flatMap((layer) => [...layer.files]))

/** The entries of all parts, as the image's own entry names them. */
const PARTS = {
  ztunnel: 'app/ztunnel/supervisor/main.ts',
  waypoint: 'app/waypoint/supervisor/main.ts',
  controller: 'app/controller/main.ts',
  cli: 'app/cli/sidestep.mjs',
}
const RELATIVE_IMPORT = /(?:from|import) ?\(?'(\.{1,2}\/[^']+)'/g

t.test('Node, the libraries it is linked to, and all parts are there', async (t) => {
  const wanted = [
    NODE_PATH.slice(1),
    ENTRY_PATH.slice(1),
    'lib64/ld-linux-x86-64.so.2',
    'app/LICENSE',
    ...Object.values(PARTS),
    'app/ztunnel/main.ts',
    'app/waypoint/main.ts',
    'app/node_modules/commander/package.json',
    'app/proto/generated/istio/workload_pb.js',
    'app/node_modules/yaml/dist/doc/directives.js',
    'app/node_modules/@koromix/koffi-linux-x64/linux_x64/koffi.node',
  ]
  t.same(
    wanted.filter((path) => !files.has(path)),
    [],
  )
  t.ok([...files.keys()].some((path) => /\/libc\.so\.6$/.test(path)))
})

t.test('each part has every file that it or what it loads names', async (t) => {
  for (const [part, entry] of Object.entries(PARTS)) {
    const seen = new Set([entry])
    for (const path of seen)
      for (const [, name = ''] of readFileSync(join(ROOT, path.slice(4)), 'utf8').matchAll(RELATIVE_IMPORT))
        seen.add(normalize(join(dirname(path), name)))
    t.ok(seen.size > 20, `${part}: ${seen.size} files`)
    t.same(
      [...seen].filter((path) => !files.has(path)),
      [],
      part,
    )
  }
})

t.test('the entry knows the parts, and nothing else', async (t) => {
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [join(ROOT, 'image/entry.mjs'), ...args], { encoding: 'utf8' })
  const usage = `usage: ${Object.keys(PARTS).join(' | ')} [options]\n`
  for (const name of ['', 'shell', 'constructor']) t.match(run(name), { status: 2, stderr: usage }, name)
  const { status, stdout } = run('cli', '--help')
  t.equal(status, 0)
  t.match(stdout, /^Usage: sidestep /)
})

t.test('nothing is there that only building and testing need', async (t) => {
  const needless =
    /^app\/(test|bench|demo)\/|node_modules\/(typescript|tap|@biomejs)\/|\.d\.ts$|\/musl_|\/bin\/sh$/
  t.same(
    [...files.keys()].filter((path) => needless.test(path)),
    [],
  )
})

t.test('it has less than 200 MB, and no file that others may write', async (t) => {
  let bytes = 0
  for (const file of files.values()) {
    bytes += contentOf(file).length
    if ((file.mode & 0o022) !== 0) t.fail('writable')
  }
  t.ok(bytes < MAX_IMAGE_BYTES, `${bytes}`)
})

t.test('the Dockerfile gives the same contents to the same user', async (t) => {
  const text = readFileSync(join(ROOT, 'image/Dockerfile'), 'utf8')
  t.match(text, 'image/build.ts --directory /image')
  t.match(text, `ENTRYPOINT ["${NODE_PATH}", "${ENTRY_PATH}"]`)
  t.match(text, /^USER 65532:65532$/m)
})
