// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { splitPort, why } from '../../../cli/commands/why.ts'
import { runCommand } from '../../support/cli-run.ts'
import { nodeView, paperFleet, shopMesh } from '../../support/node-views.ts'

t.test('a destination is split from its port', async (t) => {
  for (const [text, destination, port] of [
    ['cart', 'cart', 0],
    ['cart:80', 'cart', 80],
    ['shop/cart:65535', 'shop/cart', 65_535],
    ['10.0.0.1:80', '10.0.0.1', 80],
    ['fd00::7', 'fd00::7', 0],
    ['::1', '::1', 0],
    ['[fd00::7]', 'fd00::7', 0],
    ['[fd00::7]:80', 'fd00::7', 80],
  ] as const)
    t.strictSame(splitPort(text), { destination, port }, text)
  for (const text of ['cart:', 'cart:0', 'cart:65536', 'cart:http', '[::1]:x'])
    t.throws(() => splitPort(text), { exitCode: 2, message: /is no port/ }, text)
})

t.test('the exit code says whether it gets through', async (t) => {
  const fleet = paperFleet(nodeView('n1', shopMesh()), nodeView('n2', shopMesh()))
  const good = await runCommand(fleet, (io) => why(io, 'legacy', 'cart'))
  t.equal(good.code, 0)
  t.match(good.output, /^shop\/legacy -> cart\.shop\.svc\.cluster\.local:80: CARRIED IN PLAIN TEXT\n/)
  const bad = await runCommand(fleet, (io) => why(io, 'front', 'cart:81'), 'json')
  t.equal(bad.code, 1)
  t.match(JSON.parse(bad.output), { outcome: 'refused', code: 'NO_SUCH_PORT' })
})
