// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { NODE_FLAGS } from '../../controller/node-flags.ts'

t.test('started by its name the controller has the same flags', async (t) => {
  const main = readFileSync(fileURLToPath(new URL('../../controller/main.ts', import.meta.url)), 'utf8')
  t.equal(main.split('\n')[0], `#!/usr/bin/env -S node ${NODE_FLAGS.join(' ')}`)
})
