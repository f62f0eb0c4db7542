// SPDX-License-Identifier: Apache-2.0
// Clocks that are set while everything runs: those of all machines together, and that of one node alone; forwards beyond
// the end of certificates, and back before their beginning. Real processes, observed from outside only.
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CART_VIP, isGreeted, PODS, startControlledLab } from '../support/controlled-lab.ts'
import { type ControllerProcess, clusterYaml } from '../support/controller-process.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { LabTraffic } from '../support/lab-traffic.ts'
import { type LabNode, type LabSocket, type MeshLab, poll } from '../support/mesh-lab.ts'

const FAKE_TIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1'
const MACHINES = ['n1', 'n2', 'control'] as const
/** Of a data process: the default. */
const WORKERS = 2
const NODES = ['n1', 'n2'] as const
const TTL_SECONDS = 3_600
/** Two lives of a workload's certificate, less than one of a node's. */
const JUMP = 2 * TTL_SECONDS
/** A jump is noticed within 30 s; the rest is renewing. */
const HEALED_MS = 45_000

t.setTimeout(240_000)

/** As far as it is looked at. */
interface Certificate {
  readonly use: string
  /** Its serial number. */
  readonly stored: string
  readonly alarm: string
  readonly identity: string
  readonly tunnels: readonly { readonly worker: number; readonly role: string }[]
}

interface Mesh {
  readonly lab: MeshLab
  readonly controller: ControllerProcess
  readonly traffic: LabTraffic
  readonly set: (machines: readonly (typeof MACHINES)[number][], seconds: number) => void
  readonly open: LabSocket
}

async function openMesh(t: Test, directory: string): Promise<Mesh> {
  const file = (machine: string): string => join(directory, `${machine}.time`)
  const set: Mesh['set'] = (machines, seconds) => {
    for (const machine of machines) {
      writeFileSync(`${file(machine)}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`)
      renameSync(`${file(machine)}.new`, file(machine))
    }
  }
  set(MACHINES, 0)
  const clockOf = (machine: string): Readonly<Record<string, string>> => ({
    ...{ LD_PRELOAD: FAKE_TIME, FAKETIME_TIMESTAMP_FILE: file(machine), FAKETIME_CACHE_DURATION: '1' },
    ...{ FAKETIME_DONT_FAKE_MONOTONIC: '1', NO_FAKE_STAT: '1' },
  })
  const { lab, controller } = await startControlledLab(t, (node) => ({
    ...clockOf(node),
    SIDESTEP_CERTIFICATE_TTL_SECONDS: String(TTL_SECONDS),
  }))
  await controller.kill()
  await controller.start(clockOf('control'))
  await controller.configure(clusterYaml(PODS, ['batch']))
  return { lab, controller, set, ...(await begin(t, lab)) }
}

/** Traffic, and a connection that stays. */
async function begin(t: Test, lab: MeshLab): Promise<Pick<Mesh, 'traffic' | 'open'>> {
  const traffic = await LabTraffic.start(t, lab)
  const open = lab.connect('front', CART_VIP, 91)
  await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  return { traffic, open }
}

async function certificates(lab: MeshLab, node: LabNode): Promise<readonly Certificate[]> {
  const list = JSON.parse((await lab.admin(node, '/certificates')).text) as Certificate[] // as: our API
  return list.filter(({ use }) => use === 'workload')
}

/** Each worker of n1 has a tunnel for front: without one it would need what is refused while clocks disagree. */
async function hasTunnels(lab: MeshLab): Promise<void> {
  await poll('a tunnel of each worker', async () => {
    const front = (await certificates(lab, 'n1')).find(({ identity }) => identity.endsWith('/sa/front'))
    const workers = new Set(front?.tunnels.map(({ worker }) => worker))
    return workers.size === WORKERS || null
  })
}

/** Every workload of both nodes has another certificate than before, and none is in trouble. */
async function renewed(lab: MeshLab, before: ReadonlySet<string>): Promise<void> {
  for (const node of NODES)
    await poll(
      `${node} has other certificates`,
      async () => {
        const list = await certificates(lab, node)
        const isNew = list.every(({ stored, alarm }) => !before.has(stored) && alarm === 'none')
        return isNew || null
      },
      HEALED_MS,
    )
}

async function serialNumbers(lab: MeshLab): Promise<ReadonlySet<string>> {
  const lists = await Promise.all(NODES.map((node) => certificates(lab, node)))
  return new Set(lists.flat().map(({ stored }) => stored))
}

async function goesOn(t: Test, { open, traffic }: Mesh, what: string): Promise<void> {
  const { length } = open.text
  open.write('ping')
  await open.until('an echo', ({ text }) => text.slice(length) === 'ping')
  await traffic.fine(t, what)
}

/** What the controller is told arrives. */
async function follows({ lab, controller }: Mesh, name: string): Promise<void> {
  await controller.configure(clusterYaml([...PODS, { name, ip: '10.2.0.9', node: 'n2' }], ['batch']))
  for (const node of NODES)
    await poll(
      `${node} knows of ${name}`,
      async () => (await lab.admin(node, '/config_dump')).text.includes(`"${name}"`) || null,
    )
}

async function testAll(t: Test, mesh: Mesh): Promise<void> {
  const { lab, set } = mesh
  for (const [what, seconds] of [
    ['ahead', JUMP],
    ['back', 0],
  ] as const)
    await t.test(`all clocks are set ${what}: every certificate is renewed at once`, async (t) => {
      const before = await serialNumbers(lab)
      t.equal(before.size, 3)
      await hasTunnels(lab)
      const startMs = performance.now()
      set(MACHINES, seconds)
      await renewed(lab, before)
      t.comment(`renewed after ${((performance.now() - startMs) / 1000).toFixed(1)} s`)
      await goesOn(t, mesh, 'what stands goes on')
      await follows(mesh, `set-${what}`)
    })
}

/** A pod that needs a tunnel of its own, because n1 has begun anew, is turned away by n2. */
async function isTurnedAway(lab: MeshLab, expected: string): Promise<boolean> {
  const wasGreeted = await isGreeted(lab, 'front')
  await poll(
    `${expected} at n2`,
    async () => (await lab.records('n2')).some(({ reason }) => reason === expected) || null,
  )
  return !wasGreeted
}

async function testOne(owner: Test, mesh: Mesh): Promise<void> {
  const { lab, set } = mesh
  for (const [what, seconds, reason] of [
    ['ahead', JUMP, 'CERT_EXPIRED'],
    ['back', -JUMP, 'CERT_NOT_YET_VALID'],
  ] as const)
    await owner.test(
      `one node’s clock is set ${what}: what stands goes on, what comes is ${reason}`,
      async (t) => {
        await hasTunnels(lab)
        set(['n2'], seconds)
        await poll('its certificates are in trouble', async () => {
          const list = await certificates(lab, 'n2')
          return list.every(({ alarm }) => alarm !== 'none') || null
        })
        await goesOn(t, mesh, 'tunnels that stand')
        await follows(mesh, `alone-${what}`)
        await mesh.traffic.end(t, 5)
        await lab.restart('n1')
        t.ok(await isTurnedAway(lab, reason))
        set(['n2'], 0)
        await poll('all is well', async () => (await isGreeted(lab, 'front')) || null)
        Object.assign(mesh, await begin(owner, lab))
      },
    )
}

t.test('clocks that jump', { timeout: 240_000 }, async (t) => {
  t.ok(existsSync(FAKE_TIME), 'the Debian package faketime is installed')
  const mesh = await openMesh(t, labDirectory(t))
  await testAll(t, mesh)
  await testOne(t, mesh)
  await mesh.traffic.fine(t, 'at the end')
  await mesh.traffic.end(t, 5)
})
