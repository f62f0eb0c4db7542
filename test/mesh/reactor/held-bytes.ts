// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  HELD_EASY_BYTES,
  HELD_MUCH_BYTES,
  LEAST_READ_BYTES,
  mostReadBytes,
  READ_BLOCK_BYTES,
} from '../../../mesh/reactor/held-bytes.ts'

t.test('the more a worker holds, the less it reads at a time, and never nothing', async (t) => {
  const table = [
    [0, READ_BLOCK_BYTES],
    [HELD_EASY_BYTES - 1, READ_BLOCK_BYTES],
    [HELD_EASY_BYTES, 65_536],
    [HELD_MUCH_BYTES - 1, 65_536],
    [HELD_MUCH_BYTES, LEAST_READ_BYTES],
    [Number.MAX_SAFE_INTEGER, LEAST_READ_BYTES],
  ] as const
  for (const [held, most] of table) t.equal(mostReadBytes(held), most, `${held}`)
})
