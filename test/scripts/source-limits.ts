// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { readSourceLimit, type SourceLimit } from '../../scripts/source-limits.ts'

const LIMIT: SourceLimit = { file: 'a.ts', constant: 'MAX_X', unit: 'bytes' }

t.test('value and reason are read from the source', async (t) => {
  const sources: readonly (readonly [source: string, value: number, meaning: string])[] = [
    ['/** Room for one. */\nconst MAX_X = 5000\n', 5000, 'Room for one.'],
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
