// SPDX-License-Identifier: Apache-2.0
// Whatever befalls the controller, traffic goes on: all the while one pod calls another that it may call, and a third
// calls what it may not. Not one of the first calls fails, not one of the second gets through.
import { chmodSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { PODS, startControlledLab } from '../support/controlled-lab.ts'
import { type ControllerProcess, clusterYaml } from '../support/controller-process.ts'
import { LabTraffic } from '../support/lab-traffic.ts'
import { type MeshLab, poll } from '../support/mesh-lab.ts'

const FAKE_TIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1'
t.setTimeout(240_000)

const GOOD = clusterYaml(PODS, ['batch'])

interface Mesh {
  readonly lab: MeshLab
  readonly controller: ControllerProcess
  readonly traffic: LabTraffic
}

/** Both nodes follow the controller. */
async function followed({ controller }: Mesh): Promise<void> {
  await poll(
    'both nodes follow',
    async () => {
      const clients = (await controller.admin('/clients').catch(() => [])) as { node: string }[] // as: the route's answer
      return new Set(clients.map(({ node }) => node)).size === 2 ? true : null
    },
    60_000,
  )
}

async function testConfiguration(t: Test, mesh: Mesh): Promise<void> {
  const { controller, traffic } = mesh
  await t.test('garbage, and ten thousand lines of it', async (t) => {
    for (const yaml of ['{', '\u0000\u0001', '- '.repeat(2_000), `${GOOD}\n---\n[1, 2`, '&a [*a, *a]']) {
      await controller.configure(yaml)
      await poll('the mistake is told', async () => {
        const { mistakes } = (await controller.admin('/findings')) as { mistakes: unknown[] } // as: the route's answer
        return mistakes.length > 0 ? true : null
      })
      await traffic.fine(t, JSON.stringify(yaml.slice(0, 10)))
    }
    await controller.configure(GOOD)
  })

  await t.test('thousands of objects that contradict each other', async (t) => {
    const odd = Array.from({ length: 2_000 }, (_, index) =>
      stringify({
        apiVersion: 'security.istio.io/v1',
        kind: 'AuthorizationPolicy',
        metadata: { name: `odd-${index}`, namespace: 'elsewhere' },
        spec: index % 2 === 0 ? { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/x'] } }] }] } : {},
      }),
    )
    await controller.configure(`${GOOD}\n---\n${odd.join('---\n')}`)
    await poll('they are published', async () => {
      const { authorizations } = (await controller.admin('/published')) as { authorizations: string[] } // as: the route's answer
      return authorizations.length > 1_000 ? true : null
    })
    await traffic.fine(t, 'all of them')
    await controller.configure(GOOD)
  })
}

async function testProcess(t: Test, mesh: Mesh): Promise<void> {
  const { lab, controller, traffic } = mesh
  await t.test('a controller that stands still, then wakes', async (t) => {
    controller.signal('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    await traffic.fine(t, 'while it stands still')
    controller.signal('SIGCONT')
    await followed(mesh)
    await traffic.fine(t, 'when it is awake')
  })

  await t.test('a key that others may read: the controller does not start and says why', async (t) => {
    await controller.kill()
    const directory = join(lab.directory, 'controller', 'ca')
    const [key] = readdirSync(directory).filter((name) => name.startsWith('authority'))
    t.ok(key)
    chmodSync(join(directory, key ?? ''), 0o644)
    await controller.launch()
    t.equal(await controller.ended(), 1)
    t.match(controller.log, /CA_KEY|chmod 600/)
    await traffic.fine(t, 'without a controller')
    chmodSync(join(directory, key ?? ''), 0o600)
    await controller.start()
    await followed(mesh)
    await traffic.fine(t, 'with the key as it should be')
  })
}

async function testClocks(t: Test, mesh: Mesh): Promise<void> {
  const { controller, traffic } = mesh
  for (const [what, offset] of [
    ['hours ahead', '+3h'],
    ['hours behind', '-3h'],
    ['a year ahead', '+1y'],
  ] as const) {
    await t.test(`a controller whose clock is ${what}`, async (t) => {
      await controller.kill()
      await controller.launch({ LD_PRELOAD: FAKE_TIME, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1' })
      await poll('it answers', async () => (await controller.admin('/listening').catch(() => null)) ?? null)
      await new Promise((resolve) => setTimeout(resolve, 3_000))
      await traffic.fine(t, `while its clock is ${what}`)
      await controller.kill()
      await controller.start()
      await followed(mesh)
      await traffic.fine(t, 'afterwards')
    })
  }
}

t.test('what befalls the controller befalls no traffic', { timeout: 240_000 }, async (t) => {
  t.ok(existsSync(FAKE_TIME), 'the Debian package faketime is installed')
  const { lab, controller } = await startControlledLab(t)
  const traffic = await LabTraffic.start(t, lab)
  const mesh = { lab, controller, traffic }
  await testConfiguration(t, mesh)
  await testProcess(t, mesh)
  await testClocks(t, mesh)
  await traffic.end(t, 100)
})
