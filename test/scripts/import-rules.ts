// SPDX-License-Identifier: Apache-2.0
// The import rules are alive: each planted violation is found, and named by its rule.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..', '..')

/** Runs the real rules over a tree of these files; returns what is said and the exit code. */
function cruise(
  directory: string,
  files: Readonly<Record<string, string>>,
): { text: string; status: number | null } {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    writeFileSync(join(directory, path), text)
  }
  for (const name of ['.dependency-cruiser.cjs', 'tsconfig.json', 'package.json']) {
    cpSync(join(root, name), join(directory, name))
  }
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  const rooms = ['mesh', 'ztunnel']
  for (const room of rooms) mkdirSync(join(directory, room), { recursive: true })
  const bin = join(root, 'node_modules', '.bin', 'depcruise')
  const args = [bin, '--config', '.dependency-cruiser.cjs', ...rooms]
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { cwd: directory, encoding: 'utf8' })
  return { text: stdout + stderr, status }
}

const leaf = 'export const leaf = 1\n'
const PLANTED: ReadonlyArray<[rule: string, files: Readonly<Record<string, string>>]> = [
  ['mesh-imports-no-room', { 'ztunnel/a.ts': leaf, 'mesh/net/b.ts': "import '../../ztunnel/a.ts'\n" }],
  ['product-imports-no-test', { 'test/a.ts': leaf, 'ztunnel/b.ts': "import '../test/a.ts'\n" }],
  ['tier-errors', { 'mesh/net/a.ts': leaf, 'mesh/errors/b.ts': "import '../net/a.ts'\n" }],
  ['decisions-do-no-io', { 'ztunnel/decide/a.ts': "import 'node:fs'\n" }],
  [
    'decisions-carry-nothing',
    { 'ztunnel/carry/a.ts': leaf, 'ztunnel/decide/b.ts': "import '../carry/a.ts'\n" },
  ],
  ['regex-fence', { 'ztunnel/a.ts': "import 're2js'\n" }],
  ['koffi-fence', { 'ztunnel/a.ts': "import 'koffi'\n" }],
  ['no-cycles', { 'mesh/net/a.ts': "import './b.ts'\n", 'mesh/net/b.ts': "import './a.ts'\n" }],
]

for (const [rule, files] of PLANTED) {
  t.test(`a violation of ${rule} is found`, async (t) => {
    const { text, status } = cruise(t.testdir(), files)
    t.not(status, 0)
    t.match(text, `error ${rule}:`)
  })
}

t.test('a tree that keeps the rules passes', async (t) => {
  const { text, status } = cruise(t.testdir(), {
    'mesh/net/a.ts': leaf,
    'ztunnel/b.ts': "import '../mesh/net/a.ts'\n",
  })
  t.equal(status, 0, text)
})
