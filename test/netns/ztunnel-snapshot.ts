// SPDX-License-Identifier: Apache-2.0
// Nodes that start cold while there is no controller and no CA: real processes, killed and begun anew with what they have
// saved. Who may call calls, by mutual TLS; who may not is refused; what was changed behind their back is not believed.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isGreeted, PODS, startControlledLab } from '../support/controlled-lab.ts'
import { type ControllerProcess, clusterYaml } from '../support/controller-process.ts'
import { LabTraffic } from '../support/lab-traffic.ts'
import { type LabNode, type MeshLab, poll } from '../support/mesh-lab.ts'

const FAKE_TIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1'
/** From the start of the processes to the first greeting; most of it is the start of two runtimes. */
const COLD_START_MS = 10_000
const NODES = ['n1', 'n2'] as const

t.setTimeout(240_000)

interface Source {
  readonly configuration: string
  readonly isConnected: boolean
  readonly snapshotAgeSeconds: number | null
}

async function source(lab: MeshLab, node: LabNode): Promise<Source> {
  // as: the route's answer
  return (JSON.parse((await lab.admin(node, '/config_dump')).text) as { source: Source }).source
}

const stateOf = (lab: MeshLab, node: LabNode): string => join(lab.directory, `state-${node}`)
const wholeLog = (lab: MeshLab, node: LabNode): string =>
  readFileSync(join(lab.directory, `${node}.log`), 'utf8')

/** The node has written down what is in force. */
async function saved(lab: MeshLab, node: LabNode): Promise<void> {
  await poll(`${node} has saved`, () => {
    const files = ['model.journal', 'certificates.sealed'].map((name) => join(stateOf(lab, node), name))
    return files.every((file) => existsSync(file) && statSync(file).size > 500) || null
  })
}

async function testColdStart(t: Test, lab: MeshLab, controller: ControllerProcess): Promise<void> {
  await t.test('both nodes start cold: as before, within seconds', async (t) => {
    for (const node of NODES) await saved(lab, node)
    await controller.kill()
    for (const node of NODES) await lab.kill(node)
    const startedMs = performance.now()
    await Promise.all(NODES.map((node) => lab.restart(node)))
    await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null)
    const tookMs = performance.now() - startedMs
    t.comment(`greeted after ${Math.round(tookMs)} ms`)
    t.ok(tookMs < COLD_START_MS)
    t.notOk(await isGreeted(lab, 'batch'))
    const [refused] = await lab.recordsAfter('n2', 0, ({ reason }) => reason === 'POLICY_DENY')
    t.match(JSON.stringify(refused), /shop\/no-batch/)
    const [good] = await lab.recordsAfter('n2', 0, ({ reason }) => reason === 'OK')
    t.match(JSON.stringify(good), /spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front/, 'by mutual TLS')
  })

  await t.test('it says that its configuration is a saved one, and how old', async (t) => {
    const { configuration, isConnected, snapshotAgeSeconds } = await source(lab, 'n1')
    t.same({ configuration, isConnected }, { configuration: 'snapshot', isConnected: false })
    t.ok(snapshotAgeSeconds !== null && snapshotAgeSeconds < 120)
    t.match((await lab.admin('n1', '/metrics')).text, /^sidestep_snapshot_age_seconds \d+$/m)
  })

  await t.test('a second cold start, from what the first has copied', async (t) => {
    for (const node of NODES) await lab.kill(node)
    await Promise.all(NODES.map((node) => lab.restart(node)))
    await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null)
    t.notOk(await isGreeted(lab, 'batch'))
  })

  await t.test('a controller that is reached and says nothing is not waited for', async (t) => {
    await controller.start()
    for (const node of NODES)
      await poll(`${node} follows`, async () => (await source(lab, node)).isConnected || null)
    controller.signal('SIGSTOP')
    await lab.kill('n1')
    const startedMs = performance.now()
    await lab.restart('n1')
    await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null)
    const tookMs = performance.now() - startedMs
    t.comment(`greeted after ${Math.round(tookMs)} ms`)
    t.ok(tookMs < COLD_START_MS)
    t.notOk(await isGreeted(lab, 'batch'))
    t.equal((await source(lab, 'n1')).configuration, 'snapshot')
    controller.signal('SIGCONT')
    await poll('n1 follows', async () => (await source(lab, 'n1')).configuration === 'controller' || null)
    await controller.kill()
  })

  await t.test('the controller is back: changes arrive, and are saved', async (t) => {
    await controller.configure(clusterYaml(PODS, ['front']))
    await controller.start()
    await poll('front is refused', async () => !(await isGreeted(lab, 'front')) || null)
    await poll('batch is let in', async () => (await isGreeted(lab, 'batch')) || null)
    await poll('n2 follows', async () => (await source(lab, 'n2')).configuration === 'controller' || null)
    t.notMatch((await lab.admin('n2', '/metrics')).text, /^sidestep_snapshot_age_seconds \d/m)
    await controller.kill()
    for (const node of NODES) await lab.kill(node)
    await Promise.all(NODES.map((node) => lab.restart(node)))
    await poll('batch is greeted', async () => (await isGreeted(lab, 'batch')) || null)
    t.notOk(await isGreeted(lab, 'front'), 'the newer policy is the one that was saved')
    await controller.start()
    await controller.configure(clusterYaml(PODS, ['batch']))
    await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null, 60_000)
  })
}

/** Starts n2 without a controller on a state that must be refused; then everything is well again. */
async function refused(
  t: Test,
  { lab, controller }: { readonly lab: MeshLab; readonly controller: ControllerProcess },
  reason: string,
  spoil: () => Readonly<Record<string, string>>,
): Promise<void> {
  await controller.kill()
  await lab.kill('n2')
  const known = wholeLog(lab, 'n2').length
  const restarted = lab.restart('n2', spoil())
  await poll(
    `${reason} is told`,
    () => wholeLog(lab, 'n2').slice(known).includes(`"reason":"${reason}"`) || null,
  )
  await poll('the node answers', async () => (await lab.admin('n2', '/ready').catch(() => null)) ?? null)
  t.match((await lab.admin('n2', '/ready')).text, /pending: .*configuration/)
  t.notOk(await isGreeted(lab, 'batch'))
  await controller.start()
  if (reason === 'SNAPSHOT_TOO_OLD') await lab.restart('n2', { LD_PRELOAD: '', FAKETIME: '' })
  await restarted
  await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null, 60_000)
  await saved(lab, 'n2')
}

async function testDistrust(t: Test, lab: MeshLab, controller: ControllerProcess): Promise<void> {
  const mesh = { lab, controller }
  const journal = join(stateOf(lab, 'n2'), 'model.journal')
  await t.test('one changed bit: it is not believed, by its reason', (t) =>
    refused(t, mesh, 'SNAPSHOT_INVALID', () => {
      const bytes = readFileSync(journal)
      const position = Math.floor(bytes.length / 2)
      bytes[position] = (bytes[position] ?? 0) ^ 1
      writeFileSync(journal, bytes)
      return {}
    }),
  )
  await t.test('eight days old: refused', (t) =>
    refused(t, mesh, 'SNAPSHOT_TOO_OLD', () => ({
      ...{ LD_PRELOAD: FAKE_TIME, FAKETIME: '+8d', FAKETIME_DONT_FAKE_MONOTONIC: '1' },
    })),
  )
}

t.test('nodes that start while nobody answers', { timeout: 240_000 }, async (t) => {
  t.ok(existsSync(FAKE_TIME), 'the Debian package faketime is installed')
  const { lab, controller } = await startControlledLab(t)
  await poll('the first call', async () => (await isGreeted(lab, 'front')) || null)
  await testColdStart(t, lab, controller)
  await testDistrust(t, lab, controller)

  await t.test('keys are in the one file that only the process can read, and in no log', async (t) => {
    for (const node of NODES) {
      // What is still being written has another name in a moment.
      const names = await poll('whole files', () => {
        const found = readdirSync(stateOf(lab, node))
        return found.some((name) => name.startsWith('model.journal.')) ? null : found
      })
      for (const name of names) {
        const path = join(stateOf(lab, node), name)
        t.equal(statSync(path).mode & 0o777, 0o600, name)
        const holdsKey = readFileSync(path, 'latin1').includes('PRIVATE KEY')
        t.equal(holdsKey, name === 'certificates.sealed' || name === 'node-certificate.json', name)
      }
      t.notMatch(wholeLog(lab, node), /PRIVATE KEY/)
    }
  })
})

t.test('a full disk under the state', { timeout: 120_000 }, async (t) => {
  const mounted: string[] = []
  t.teardown(() => {
    for (const path of mounted) execFileSync('umount', [path])
  })
  const { lab, controller } = await startControlledLab(t, (node) => {
    if (node === 'n1') return {}
    const directory = join(t.testdirName, 'small')
    mkdirSync(directory)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=700', 'sidestep-test', directory])
    mounted.push(directory)
    try {
      writeFileSync(join(directory, 'filler'), Buffer.alloc(1024 * 1024))
    } catch {
      // It is full now.
    }
    return { SIDESTEP_STATE_DIRECTORY: directory }
  })
  const [small = ''] = mounted
  const unsavedParts = async (): Promise<number> =>
    Number(/^sidestep_snapshot_unsaved (\d)$/m.exec((await lab.admin('n2', '/metrics')).text)?.[1])
  await t.test('traffic does not notice, the log does, once', async (t) => {
    const traffic = await LabTraffic.start(t, lab)
    await poll('both parts are missing', async () => (await unsavedParts()) === 2 || null)
    await traffic.fine(t, 'with a full disk')
    await traffic.end(t, 5)
    await controller.configure(clusterYaml(PODS, ['front']))
    await poll('batch is let in', async () => (await isGreeted(lab, 'batch')) || null)
    const told = (): string[] =>
      wholeLog(lab, 'n2')
        .split('\n')
        .filter((line) => line.includes('"reason":"SNAPSHOT_NOT_SAVED"'))
        .map((line) => /"what":"([a-z ]+)"/.exec(line)?.[1] ?? line)
        .toSorted()
    // What pods went through is saved as well, every few seconds.
    const parts = ['certificates', 'configuration']
    await poll('it is told', () => parts.every((what) => told().includes(what)) || null)
    t.same(told(), [...new Set(told())], 'once for each file')
  })
  await t.test('when there is room again, all of it is saved', async (t) => {
    rmSync(join(small, 'filler'))
    await poll('it is saved', async () => (await unsavedParts()) === 0 || null)
    for (const what of ['certificates', 'configuration'])
      t.ok(
        wholeLog(lab, 'n2')
          .split('\n')
          .some((line) => line.includes('saves again') && line.includes(`"${what}"`)),
        what,
      )
    await controller.kill()
    await lab.kill('n2')
    await lab.restart('n2')
    await poll('batch is greeted', async () => (await isGreeted(lab, 'batch')) || null)
    t.notOk(await isGreeted(lab, 'front'), 'what came while the disk was full is saved too')
  })
})
