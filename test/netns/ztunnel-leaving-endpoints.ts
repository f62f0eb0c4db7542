// SPDX-License-Identifier: Apache-2.0
// Endpoints that leave a service under its calls: announced by the controller, and not; their process refuses, then their
// namespace is gone. Not one call fails. The calls are of a protocol in which the server speaks first.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { AGENT_ENVIRONMENT } from '../support/compile-caches.ts'
import { CART_VIP, PODS, startControlledLab } from '../support/controlled-lab.ts'
import { type ControllerProcess, clusterYaml } from '../support/controller-process.ts'
import type { LoadReport } from '../support/load-agent.ts'
import { type LabRecord, type MeshLab, poll } from '../support/mesh-lab.ts'
import type { AgentCommand, AgentEvent } from '../support/pod-agent.ts'
import { PodLoad } from '../support/pod-load.ts'

const AGENT = fileURLToPath(new URL('../support/pod-agent.ts', import.meta.url))
/** Beside cart; on its node, of its service. */
const MORE = { c2: '10.2.0.2', c3: '10.2.0.3' } as const
type Endpoint = keyof typeof MORE
const GREETER_PORT = 9001
/** Two processes: 500 calls a second together, if the machine gives them. */
const CALLERS = ['front', 'front'] as const
const CALLS_EACH = 250
/** Calls that are made in each state. */
const CALLS_AFTER = 800

/** What the controller is told of the endpoints that are there. */
type States = Partial<Record<Endpoint, 'running' | 'terminating'>>

function cluster(states: States): string {
  const more = (Object.keys(states) as Endpoint[]).map((name) => ({ name, ip: MORE[name], node: 'n2' })) // as: of that type
  let yaml = clusterYaml([...PODS, ...more], [])
  for (const { name } of more) {
    yaml = yaml
      .replace(`labels: {app: ${name}, `, 'labels: {app: cart, ')
      .replace(`serviceAccountName: ${name}`, 'serviceAccountName: cart')
    if (states[name] === 'terminating')
      yaml = yaml.replace(
        `metadata: {name: ${name}, `,
        `metadata: {name: ${name}, deletionTimestamp: "2026-01-01T00:00:30Z", deletionGracePeriodSeconds: 30, `,
      )
  }
  return yaml
}

/** Lines of the enrolment file. */
function enrolment(lab: MeshLab, names: readonly Endpoint[]): string {
  return names
    .map(
      (name) =>
        `- {uid: u-${name}, name: ${name}, namespace: shop, serviceAccount: cart, ` +
        `netns: ${lab.network.pod(name).namespace.path}}\n`,
    )
    .join('')
}

/** The application of an endpoint. */
class Application {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(lab: MeshLab, name: Endpoint): Promise<Application> {
    const child = lab.network.pod(name).namespace.run(() =>
      spawn(process.execPath, ['--no-warnings', AGENT, 'serve'], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        env: AGENT_ENVIRONMENT,
      }),
    )
    let isUp = false
    child.on('message', ({ type }: AgentEvent) => {
      if (type === 'up') isUp = true
    })
    await poll(`the application of ${name}`, () => isUp || null)
    return new Application(child)
  }

  /** It takes nothing new, and finishes what it has. */
  leave(): void {
    this.#child.send({ type: 'leave', id: 0, ip: '', port: 0, text: '' } satisfies AgentCommand)
  }

  end(): void {
    if (this.#child.connected) this.#child.disconnect()
  }
}

/** Calls that came to an endpoint. */
function callsOf(lab: MeshLab, name: Endpoint): number {
  const file = join(lab.directory, 'records', 'n2')
  if (!existsSync(file)) return 0 // nobody was called yet
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LabRecord) // as: the ztunnel's own lines
    .filter((each) => each.reason === 'OK' && each['dst.addr'] === `${MORE[name]}:${GREETER_PORT}`).length
}

/** The lab with three endpoints, and its load. */
class Leaving {
  readonly lab: MeshLab
  readonly #load: PodLoad
  readonly #controller: ControllerProcess
  readonly applications: Readonly<Record<Endpoint, Application>>

  private constructor(
    lab: MeshLab,
    controller: ControllerProcess,
    applications: Readonly<Record<Endpoint, Application>>,
    load: PodLoad,
  ) {
    this.lab = lab
    this.#controller = controller
    this.applications = applications
    this.#load = load
  }

  static async start(t: Test): Promise<Leaving> {
    const { lab, controller } = await startControlledLab(t)
    for (const name of ['c2', 'c3'] as const) lab.network.addPod('n2', { name, ip: MORE[name] })
    const [c2, c3] = [await Application.start(lab, 'c2'), await Application.start(lab, 'c3')]
    const load = new PodLoad(lab, CALLERS)
    t.teardown(() => {
      load.close()
      c2.end()
      c3.end()
    })
    await lab.enrol('n2', ['cart'], enrolment(lab, ['c2', 'c3']))
    await controller.configure(cluster({ c2: 'running', c3: 'running' }))
    await load.tell({ type: 'connect', perSecond: CALLS_EACH, ip: CART_VIP, port: 91 })
    await poll('calls to all', () => (callsOf(lab, 'c2') > 0 && callsOf(lab, 'c3') > 0) || null)
    return new Leaving(lab, controller, { c2, c3 }, load)
  }

  report(): Promise<LoadReport> {
    return this.#load.tell({ type: 'report' })
  }

  /** Calls go on, and none has failed. */
  async fine(t: Test, what: string): Promise<void> {
    const { connects } = await this.report()
    const { failures } = await poll(what, async () => {
      const report = await this.report()
      return report.connects >= connects + CALLS_AFTER || report.failures.length > 0 ? report : null
    })
    t.same(failures, [], what)
  }

  async configure(states: States): Promise<void> {
    await this.#controller.configure(cluster(states))
  }

  /** Until none of a second's calls comes to it. */
  async unused(name: Endpoint): Promise<void> {
    await poll(`no calls to ${name}`, async () => {
      const [before, { connects }] = [callsOf(this.lab, name), await this.report()]
      await wait(1000)
      const isCalled = callsOf(this.lab, name) > before
      return (!isCalled && (await this.report()).connects > connects) || null
    })
  }

  /** No call is under way. */
  async finish(): Promise<LoadReport> {
    return await this.#load.tell({ type: 'connect', perSecond: 0, ip: CART_VIP, port: 91 })
  }
}

t.setTimeout(240_000)
t.test('endpoints leave under 500 calls a second, and none fails', { timeout: 220_000 }, async (t) => {
  const leaving = await Leaving.start(t)
  const { lab, applications } = leaving
  const startedMs = performance.now()
  const { connects: before } = await leaving.report()
  await leaving.fine(t, 'three endpoints')

  await t.test('announced: it terminates, is called no more, refuses, and is gone', async (t) => {
    await leaving.configure({ c2: 'terminating', c3: 'running' })
    await leaving.unused('c2')
    await leaving.fine(t, 'c2 terminates')
    applications.c2.leave()
    await leaving.fine(t, 'its process refuses')
    applications.c2.end()
    await lab.enrol('n2', ['cart'], enrolment(lab, ['c3']))
    lab.network.removePod('c2')
    await leaving.fine(t, 'its namespace is gone')
    await leaving.configure({ c3: 'running' })
    await leaving.fine(t, 'its object is deleted')
  })

  await t.test('not announced: it refuses and is gone while all take it for healthy', async (t) => {
    applications.c3.leave()
    await leaving.fine(t, 'its process refuses')
    const retried = await lab.recordsAfter('n1', 0, ({ retries }) => retries !== undefined)
    t.ok(retried.every(({ reason }) => reason === 'OK'))
    await leaving.unused('c3')
    applications.c3.end()
    lab.network.removePod('c3')
    await leaving.fine(t, 'its namespace is gone')
    await lab.enrol('n2', ['cart'])
    await leaving.fine(t, 'its node serves it no more')
    await leaving.configure({})
    await leaving.fine(t, 'its object is deleted')
  })

  const { connects, failures } = await leaving.finish()
  const perSecond = Math.round(((connects - before) * 1000) / (performance.now() - startedMs))
  t.comment(`${connects} calls, ${perSecond} a second`)
  t.same(failures, [])
  const { text } = await lab.admin('n1', '/metrics')
  for (const [line] of text.matchAll(/^sidestep_connect_retries_total.*$/gm)) t.comment(line)
})
