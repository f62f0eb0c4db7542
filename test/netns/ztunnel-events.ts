// SPDX-License-Identifier: Apache-2.0
// What happened to a pod is known after the process that saw it has been killed, was stopped, or gave way to a next one.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ps } from '../../cli/commands/ps.ts'
import { openFleet } from '../../cli/fleet/open-fleet.ts'
import { runCommand } from '../support/cli-run.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_VIP = '10.96.0.10'

t.setTimeout(180_000)

interface Event {
  readonly msg: string
  readonly reason?: string
}

const eventsOf = async (lab: MeshLab, node: LabNode, pod: string): Promise<readonly Event[]> =>
  JSON.parse((await lab.admin(node, `/events?pod=shop/${pod}`)).text) as Event[] // as: the route's answer
const reasonsOf = async (lab: MeshLab, node: LabNode, pod: string): Promise<readonly unknown[]> =>
  (await eventsOf(lab, node, pod)).flatMap(({ reason }) => reason ?? [])

async function call(lab: MeshLab, pod: 'front' | 'batch'): Promise<void> {
  const socket = lab.connect(pod, CART_VIP, 80)
  await socket.until('connected or not', ({ isConnected, isClosed }) => isConnected || isClosed)
  socket.end()
  await socket.until('its end', ({ isClosed }) => isClosed)
}

t.test('events of a pod outlive the process that saw them', async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh(['batch']))
  t.teardown(() => lab.close())
  await call(lab, 'front')
  await call(lab, 'batch')
  await poll('the refusal', async () => (await reasonsOf(lab, 'n2', 'cart')).includes('POLICY_DENY') || null)
  await poll('the good end', async () => (await reasonsOf(lab, 'n2', 'cart')).includes('OK') || null)
  const messages = (await eventsOf(lab, 'n2', 'cart')).map(({ msg }) => msg)
  for (const msg of ['pod enrolled', 'certificate changed', 'connection complete'])
    t.ok(messages.includes(msg), msg)
  t.notOk((await reasonsOf(lab, 'n1', 'front')).includes('POLICY_DENY'), 'each pod has its own')

  await t.test('a process that is killed, some seconds later', async (t) => {
    const file = join(lab.directory, 'state-n2', 'events.sealed')
    const savedMs = (): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
    await poll('saved', () => savedMs() > 0 || null)
    const beforeMs = savedMs()
    await call(lab, 'batch')
    await poll('the refusal', async () => (await reasonsOf(lab, 'n2', 'cart')).length > 2 || null)
    await poll('saved again', () => savedMs() > beforeMs || null)
    await lab.kill('n2')
    await lab.revive('n2')
    await lab.ready('n2')
    const reasons = await reasonsOf(lab, 'n2', 'cart')
    t.equal(reasons.filter((reason) => reason === 'POLICY_DENY').length, 2)
    t.ok(reasons.includes('OK'))
  })

  await t.test('one that is stopped, at once', async (t) => {
    await call(lab, 'batch')
    await lab.restart('n2')
    t.equal((await reasonsOf(lab, 'n2', 'cart')).filter((each) => each === 'POLICY_DENY').length, 3)
  })

  await t.test('one that is replaced in place', async (t) => {
    await call(lab, 'batch')
    await poll('the refusal', async () => {
      const reasons = await reasonsOf(lab, 'n2', 'cart')
      return reasons.filter((each) => each === 'POLICY_DENY').length === 4 || null
    })
    const [before = -1] = lab.dataPids('n2')
    lab.upgrade('n2')
    await poll('another one serves', () => {
      const pids = lab.dataPids('n2')
      return (pids.length === 1 && pids[0] !== before) || null
    })
    const denied = await poll('it has them all', async () => {
      const reasons = await reasonsOf(lab, 'n2', 'cart').catch((): readonly unknown[] => [])
      return reasons.includes('POLICY_DENY') ? reasons.filter((each) => each === 'POLICY_DENY') : null
    })
    t.equal(denied.length, 4)
  })

  await t.test('one that gives way to the next', async () => {
    await call(lab, 'batch')
    const before = lab.dataPids('n2')
    await lab.startNext('n2')
    await poll('the next one serves', () => (lab.dataPids('n2')[0] ?? before[0]) !== before[0] || null)
    await poll('its events', async () => {
      const reasons = await reasonsOf(lab, 'n2', 'cart').catch(() => [])
      return reasons.filter((each) => each === 'POLICY_DENY').length === 5 || null
    })
  })

  await t.test('sidestep ps has the failures with code and fix, and the changes', async (t) => {
    const fleet = await openFleet({ output: 'table', node: [lab.adminSocket('n2')] })
    const { output } = await runCommand(fleet, (io) => ps(io, 'shop/cart'))
    t.match(output, /inbound +POLICY_DENY +spiffe:\S+batch .*a policy of the destination/)
    t.match(output, /pod enrolled +uid=/)
    t.match(output, /certificate changed +identity=spiffe:/)
  })
})
