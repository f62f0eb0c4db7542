// SPDX-License-Identifier: Apache-2.0
// A second supervisor on a node that is not, or not properly, the next one: it is refused or withdraws with its code, and who
// calls notices nothing. The proper next one: ztunnel-handover.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { HANDOVER_VERSION, supervisorSocket } from '../../mesh/generations/handover.ts'
import { ChannelListener, connectChannel } from '../../mesh/reactor/channel-sockets.ts'
import { DescriptorChannel, sendDescriptors } from '../../mesh/reactor/descriptor-passing.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { seedCompileCache } from '../support/compile-caches.ts'
import { Caller } from '../support/lab-caller.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const SUPERVISOR = fileURLToPath(new URL('../../ztunnel/supervisor/main.ts', import.meta.url))

/** A supervisor of n1 beside the lab's own. */
class Second {
  readonly child: ChildProcess
  readonly #log: string

  private constructor(child: ChildProcess, log: string) {
    this.child = child
    this.#log = log
  }

  static async start(t: Test, lab: MeshLab, adminSocket: string): Promise<Second> {
    const log = join(lab.directory, `second-${Date.now()}.log`)
    const fd = openSync(log, 'a', 0o600)
    await seedCompileCache(adminSocket, 'ztunnel')
    const env = {
      SIDESTEP_NODE_NAME: 'n1',
      SIDESTEP_CONFIG_FILE: join(lab.directory, 'mesh.yaml'),
      SIDESTEP_ENROLMENT_FILE: join(lab.directory, 'n1.yaml'),
      SIDESTEP_CA_DIRECTORY: join(lab.directory, 'ca'),
      SIDESTEP_STATE_DIRECTORY: join(lab.directory, 'state-second'),
      SIDESTEP_ADMIN_SOCKET: adminSocket,
      SIDESTEP_DRAIN_SECONDS: '1',
    }
    const child = lab.network
      .node('n1')
      .namespace.run(() =>
        spawn(process.execPath, ['--no-warnings', SUPERVISOR], { stdio: ['ignore', fd, fd], env }),
      )
    closeSync(fd)
    t.teardown(() => child.kill('SIGKILL'))
    return new Second(child, log)
  }

  get log(): string {
    return readFileSync(this.#log, 'utf8')
  }

  /** Its exit code. */
  async ended(): Promise<number | null> {
    if (this.child.exitCode === null) await once(this.child, 'exit')
    return this.child.exitCode
  }
}

async function openLab(t: Test): Promise<{ readonly lab: MeshLab; readonly caller: Caller }> {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]))
  t.teardown(() => lab.close())
  const caller = new Caller(lab)
  await caller.calls(5)
  return { lab, caller }
}

async function unharmed(t: Test, caller: Caller): Promise<void> {
  await caller.calls(30)
  await caller.stop()
  t.same(caller.failures, [], `of ${caller.count} calls`)
}

t.setTimeout(240_000)

t.test(
  'one of another version is not understood, and refused by its code',
  { timeout: 60_000 },
  async (t) => {
    const { lab, caller } = await openLab(t)
    const answers: string[] = []
    const isOver = Promise.withResolvers<void>()
    const fd = connectChannel(supervisorSocket(lab.adminSocket('n1')))
    new DescriptorChannel(fd, {
      onMessage: ({ payload }) => void answers.push(payload.toString()),
      onClosed: () => isOver.resolve(),
    })
    sendDescriptors(fd, Buffer.from(JSON.stringify({ type: 'take', version: HANDOVER_VERSION + 1 })))
    await isOver.promise
    t.same(
      answers.map((each) => JSON.parse(each)),
      [{ type: 'owned' }],
    )
    t.notMatch(lab.log('n1'), /another supervisor takes the pods/)

    // The same from its side: who leads knows another version.
    const directory = mkdtempSync(join(tmpdir(), 'sidestep-lab-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const admin = join(directory, 'other.sock')
    const listener = new ChannelListener(supervisorSocket(admin), (channelFd) => {
      const channel = new DescriptorChannel(channelFd, {
        onMessage: () => {
          channel.send(Buffer.from(JSON.stringify({ type: 'owned' })))
          channel.close()
        },
        onClosed: () => {},
      })
    })
    t.teardown(() => listener.close())
    const second = await Second.start(t, lab, admin)
    t.equal(await second.ended(), 2)
    t.match(second.log, /"reason":"ALREADY_RUNNING"/)
    await unharmed(t, caller)
  },
)

t.test('a third one is refused while the second is given the pods', { timeout: 100_000 }, async (t) => {
  const { lab, caller } = await openLab(t)
  const next = lab.startNext('n1')
  await poll('it is given the pods', () => /another supervisor takes the pods/.test(lab.log('n1')) || null)
  const pid = lab.supervisorPid('n1')
  process.kill(pid, 'SIGSTOP') // wherever it is now: it does not listen for long
  t.teardown(() => resume(pid))
  const third = await Second.start(t, lab, lab.adminSocket('n1'))
  t.equal(await third.ended(), 2)
  t.match(third.log, /"reason":"ALREADY_RUNNING"/)
  await caller.calls(20)
  resume(pid)
  await next
  await unharmed(t, caller)
})

function resume(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT')
  } catch {
    // It has ended meanwhile.
  }
}

/** Rules of a namespace, without what they have counted. */
function rulesOf(namespace: NetworkNamespace): string {
  const text = namespace.run(() => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }))
  return text.replaceAll(/packets \d+ bytes \d+/g, '')
}

t.test('one that has a place of its own takes nothing from the other', { timeout: 100_000 }, async (t) => {
  const { lab, caller } = await openLab(t)
  const namespaces = [lab.namespaceOf('front'), lab.network.node('n1').namespace]
  const before = namespaces.map(rulesOf)
  const directory = mkdtempSync(join(tmpdir(), 'sidestep-lab-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const second = await Second.start(t, lab, join(directory, 'other.sock'))
  await poll('it is refused the pods', () => second.log.includes('"reason":"PORT_TAKEN"') || null)
  await poll('it has nothing to serve', () => second.log.includes('data process ready') || null)
  t.match(second.log, /"pods":0,"msg":"ready"/)
  await caller.calls(20)
  t.same(namespaces.map(rulesOf), before)
  second.child.kill('SIGTERM')
  t.equal(await second.ended(), 0)
  t.same(namespaces.map(rulesOf), before, 'nor when it ends')
  t.notMatch(lab.log('n1'), /NOT_ENROLLED/)
  await unharmed(t, caller)
})
