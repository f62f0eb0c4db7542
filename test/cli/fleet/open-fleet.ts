// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { demoNodes } from '../../../cli/fleet/demo.ts'
import { openFleet } from '../../../cli/fleet/open-fleet.ts'

t.test('the nodes that are named, or those of a dump', async (t) => {
  const { nodes } = await openFleet({ output: 'table', node: ['/a.sock', '/b.sock'] })
  t.strictSame(
    nodes.map(({ label }) => label),
    ['/a.sock', '/b.sock'],
  )
  const dumped = { kind: 'sidestep-dump', version: 1, nodes: [{ label: 'n1', error: '', pages: {} }] }
  const dump = join(t.testdir({ 'd.json': JSON.stringify(dumped) }), 'd.json')
  t.strictSame(
    (await openFleet({ output: 'table', node: [], dump })).nodes.map(({ label }) => label),
    ['n1'],
  )
})

t.test('two places at once are not understood', async (t) => {
  const flags = { output: 'table', node: [] } as const
  for (const more of [
    { node: ['/a'], dump: '/d' },
    { demo: true, node: ['/a'] },
    { dump: '/d', kubeconfig: '/k' },
    { demo: true, context: 'c' },
  ])
    await t.rejects(openFleet({ ...flags, ...more }), { exitCode: 2, message: /not several/ })
})

t.test('the demo that runs is found by its sockets; none and two are told', async (t) => {
  const directory = t.testdir({})
  const start = (name: string): void => {
    mkdirSync(join(directory, name))
    for (const file of ['node1.sock', 'node2.sock', 'node1.log'])
      writeFileSync(join(directory, name, file), '')
  }
  mkdirSync(join(directory, 'sidestep-demo-over'))
  await t.rejects(demoNodes(directory), { exitCode: 3, message: /no demo runs/ })
  start('sidestep-demo-a')
  t.strictSame(
    (await demoNodes(directory)).map(({ label }) => label),
    ['node1', 'node2'].map((name) => join(directory, 'sidestep-demo-a', `${name}.sock`)),
  )
  start('sidestep-demo-b')
  await t.rejects(demoNodes(directory), { exitCode: 3, message: /several demos/ })
})
