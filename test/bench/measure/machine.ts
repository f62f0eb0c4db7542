// SPDX-License-Identifier: Apache-2.0
// What is said of the machine.
import t from 'tap'
import { describeMachine, parseProcessorTicks, versionOf } from '../../../bench/measure/machine.ts'

t.test('idle and waiting time of all processors is not busy', (t) => {
  const stat = 'cpu  100 5 50 800 20 3 2 20 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n'
  t.same(parseProcessorTicks(stat), { busy: 180, total: 1000 })
  t.same(parseProcessorTicks('nothing'), { busy: 0, total: 0 })
  t.end()
})

t.test('the machine is described without its name', (t) => {
  const machine = describeMachine()
  t.ok(machine.cores > 0 && machine.memoryGb > 0)
  t.equal(machine.node, process.version)
  t.same(Object.keys(machine).sort(), ['cores', 'cpu', 'kernel', 'memoryGb', 'node'])
  t.end()
})

t.test('a version is the first line on either stream, also of a program that fails', async (t) => {
  const program = (text: string): string[] => ['-e', text]
  const path = process.env.PATH ?? ''
  t.equal(await versionOf(process.execPath, program('console.error("\\nv 1\\nmore")'), path), 'v 1')
  t.equal(await versionOf(process.execPath, program('console.log("v 2"); process.exit(1)'), path), 'v 2')
  t.equal(await versionOf('/nowhere', [], path), 'unknown')
})
