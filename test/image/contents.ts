// SPDX-License-Identifier: Apache-2.0
// What the image of this checkout holds; that it runs is tried in test/nodes.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { contentOf, ENTRY_PATH, imageLayers, NODE_PATH } from '../../image/contents.ts'
import { ROOT } from '../support/documents.ts'

const MAX_IMAGE_BYTES = 200_000_000
const layers = imageLayers(ROOT)
const files = new Map(layers.flatMap((layer) => [...layer.files]))

t.test('Node, the libraries it is linked to, and both parts are there', async (t) => {
  const wanted = [
    NODE_PATH.slice(1),
    ENTRY_PATH.slice(1),
    'lib64/ld-linux-x86-64.so.2',
    'app/LICENSE',
    'app/ztunnel/supervisor/main.ts',
    'app/controller/main.ts',
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
