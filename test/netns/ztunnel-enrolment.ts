// SPDX-License-Identifier: Apache-2.0
// Pods that come into the mesh and leave it while they are in use. Real processes, observed from outside only.
import t from 'tap'
import { readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { Caller } from '../support/lab-caller.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const CALLERS = 8
const ROUNDS = 2

t.setTimeout(150_000)

t.test('a pod goes out and in under load, and no call fails', async (t) => {
  t.setTimeout(120_000)
  const lab = await MeshLab.start(t.testdir({}), labMesh([]), { SIDESTEP_DRAIN_SECONDS: '60' })
  t.teardown(() => lab.close())
  const tables = (): number => readRedirectRules(lab.namespaceOf('front')).tables.length
  /** Waits until calls come to cart that way. */
  const comeBy = async (transport: 'TCP' | 'HBONE'): Promise<void> => {
    await poll(transport, async () => (await lab.records('n2')).at(-1)?.transport === transport || null)
  }

  const stream = lab.connect('front', CART_IP, 9001)
  await stream.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  const callers = Array.from({ length: CALLERS }, () => new Caller(lab))
  const startedMs = performance.now()
  for (let round = 1; round <= ROUNDS; round++) {
    await lab.enrol('n1', ['batch'])
    if (round === 1) await comeBy('TCP')
    else await poll('front is out', () => tables() === 0 || null)
    for (const caller of callers) await caller.calls(15)
    if (round === 1) {
      t.notOk(stream.isClosed || stream.hasEnded, 'what was open goes on')
      const { length } = stream.text
      stream.write('still here')
      await stream.until('the echo', ({ text }) => text.slice(length) === 'still here')
      stream.destroy()
      await poll('nothing of ours is left when it has ended', () => tables() === 0 || null)
    }
    await lab.enrol('n1', ['front', 'batch'])
    await poll('front is in', () => tables() > 0 || null)
    for (const caller of callers) await caller.calls(15)
  }
  for (const caller of callers) await caller.stop()
  const count = callers.reduce((sum, caller) => sum + caller.count, 0)
  t.comment(`${Math.round((count / (performance.now() - startedMs)) * 1000)} calls a second`)
  for (const node of ['n1', 'n2'] as const)
    for (const record of await lab.records(node))
      if (record.reason !== 'OK') t.comment(`${node} ${JSON.stringify(record)}`)
  t.same(
    callers.flatMap(({ failures }) => failures),
    [],
    `of ${count} calls`,
  )
})
