// SPDX-License-Identifier: Apache-2.0
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { limitNames, NO_LIMITS, readSourceLimit } from '../../scripts/read-source-limit.ts'
import { SOURCE_LIMITS, type SourceLimit } from '../../scripts/source-limits.ts'

const ROOT = join(import.meta.dirname, '..', '..')

const LIMIT: SourceLimit = { file: 'a.ts', constant: 'MAX_X', unit: 'bytes' }

t.test('value and reason are read from the source', async (t) => {
  const sources: readonly (readonly [source: string, value: number, meaning: string])[] = [
    ['/** Room for one. */\nconst MAX_X = 5000\n', 5000, 'Room for one.'],
    ['// Room, said shortly.\nconst MAX_X = 1\n', 1, 'Room, said shortly.'],
    ['/** Room. */\nexport const MAX_X = 2_097_152\n', 2_097_152, 'Room.'],
    ['/** Room. */\nconst MAX_X = 8 * 1024 * 1024\n', 8_388_608, 'Room.'],
    ['const MAX_Y = 1 // other\nconst MAX_X = 2 * 3 + 4 // trailing\n', 10, 'trailing'],
  ]
  for (const [source, value, meaning] of sources)
    t.strictSame(readSourceLimit(LIMIT, source), { ...LIMIT, value, meaning })
})

t.test('a limit that vanished, is no number or gives no reason is a mistake', async (t) => {
  for (const [source, message] of [
    ['const MAX_XY = 1 // other\n', 'there is no MAX_X'],
    ['/** Room. */\nconst MAX_X = OTHER\n', 'there is no MAX_X that is a number'],
    ['const MAX_X = 1\n', 'no comment'],
    ['/** Of another. */\nconst MAX_Y = 2\nconst MAX_X = 1\n', 'no comment'],
  ] as const)
    t.throws(() => readSourceLimit(LIMIT, source), { message: new RegExp(message) }, source)
})

t.test('a limit is known by its name', async (t) => {
  const source = [
    'const MAX_X = 1',
    'export const A_TIMEOUT_MS = 5_000 // b',
    'const TIMEOUT_MS = 1',
    'const ROOM_BYTES = 2 * 3',
  ]
  t.same(limitNames(source.join('\n')), ['MAX_X', 'A_TIMEOUT_MS', 'TIMEOUT_MS', 'ROOM_BYTES'])
  for (const line of [
    'const MAX_X = other',
    ' const MAX_X = 1',
    'const maxX = 1',
    'const REFRESH_MS = 1',
    'const MAX_PORT = 65_535',
  ])
    t.same(limitNames(line), [], line)
})

t.test(
  'no limit of the controller and of what it shares with nodes is missing in docs/limits.md',
  async (t) => {
    const documented = new Set(SOURCE_LIMITS.map(({ file, constant }) => `${file} ${constant}`))
    const files = globSync('{controller,cli,mesh/{grpc,discovery,redis,identity}}/**/*.ts', { cwd: ROOT })
    const found = files.flatMap((file) =>
      limitNames(readFileSync(join(ROOT, file), 'utf8')).map((name) => `${file} ${name}`),
    )
    t.ok(found.length > 80)
    t.same(
      found.filter((each) => !documented.has(each)),
      [],
    )
    const sources = files.map((file) => readFileSync(join(ROOT, file), 'utf8')).join('\n')
    for (const name of Object.keys(NO_LIMITS)) t.ok(sources.includes(`const ${name} = `), `${name} is there`)
  },
)
