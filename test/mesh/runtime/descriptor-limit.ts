// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseDescriptorLimit, readDescriptorLimit } from '../../../mesh/runtime/descriptor-limit.ts'

t.test('the soft limit of descriptors is read from what the kernel says', async (t) => {
  const head = 'Limit                     Soft Limit           Hard Limit           Units\n'
  t.equal(
    parseDescriptorLimit(
      `${head}Max open files            1024                 524288               files\n`,
    ),
    1024,
  )
  for (const text of [
    '',
    `${head}Max open files            unlimited            unlimited            files\n`,
  ])
    t.equal(parseDescriptorLimit(text), Number.POSITIVE_INFINITY)
  t.ok((readDescriptorLimit() ?? 0) >= 256)
})
