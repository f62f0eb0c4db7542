// SPDX-License-Identifier: Apache-2.0
// One node with a ztunnel: a pod that is enrolled, one that is not, one with a dnsmasq of its own, and the resolver all ask.
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { VirtualNetwork } from '../../mesh/reactor/netlink/virtual-network.ts'
import type { DnsAnswers, DnsAskOptions } from '../load/dns-ask.ts'
import { Processes } from '../processes.ts'

const SUPERVISOR = fileURLToPath(new URL('../../ztunnel/supervisor/main.ts', import.meta.url))
const IPS = { enrolled: '10.1.0.1', plain: '10.1.0.2', resolver: '10.1.0.3', relayed: '10.1.0.4' } as const
const START_TIMEOUT_MS = 20_000
const OWN_NAME = 'cart.shop.svc.cluster.local'
const OTHER_NAME = 'www.example.org'
const MESH = `workloads:
- {uid: e, name: enrolled, namespace: shop, serviceAccount: enrolled, workloadIps: ["${IPS.enrolled}"], protocol: HBONE, node: n1, services: {}}
services:
- {name: cart, namespace: shop, hostname: ${OWN_NAME}, vips: ["/10.96.0.10"], ports: {80: 8080}}
policies: []
`

/** Which way a question takes: to the resolver without a mesh, to it through a dnsmasq or the ztunnel, or answered there. */
export type Way = 'direct' | 'dnsmasq' | 'forwarded' | 'answered'

const ASKERS: Readonly<Record<Way, keyof typeof IPS>> = {
  direct: 'plain',
  dnsmasq: 'relayed',
  forwarded: 'enrolled',
  answered: 'enrolled',
}
/** Debian's package dnsmasq-base: a forwarder in C, asked at its own port, so without redirection and connection table. */
const DNSMASQ = '/usr/sbin/dnsmasq'

/** Owns its directory, namespaces and processes. */
export class DnsLab {
  readonly #directory: string
  readonly #network: VirtualNetwork
  readonly #processes: Processes

  private constructor(directory: string) {
    this.#directory = directory
    this.#processes = new Processes(directory, process.env.PATH ?? '')
    const pods = Object.entries(IPS).map(([name, ip]) => ({ name, ip }))
    this.#network = VirtualNetwork.create({ nodes: [{ name: 'n1', pods }] })
  }

  /** Everything serves when this resolves. @throws Error */
  static async open(): Promise<DnsLab> {
    const lab = new DnsLab(await mkdtemp(join(tmpdir(), 'sidestep-dns-')))
    try {
      await lab.#start()
      return lab
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  /** Ways that can be measured here: dnsmasq only where it is installed. */
  get ways(): readonly Way[] {
    return existsSync(DNSMASQ)
      ? ['direct', 'dnsmasq', 'forwarded', 'answered']
      : ['direct', 'forwarded', 'answered']
  }

  async ask(way: Way, load: Omit<DnsAskOptions, 'ip' | 'name'>): Promise<DnsAnswers> {
    const { namespace } = this.#network.pod(ASKERS[way])
    const name = way === 'answered' ? OWN_NAME : OTHER_NAME
    const options: DnsAskOptions = { ...load, ip: way === 'dnsmasq' ? '127.0.0.1' : IPS.resolver, name }
    const timeoutMs = ((load.warmUpSeconds + load.seconds) * load.turn.of + 10) * 1000
    return await this.#processes.measure(namespace, 'dns-ask', options, timeoutMs)
  }

  async close(): Promise<void> {
    await this.#processes.close()
    this.#network.close()
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #start(): Promise<void> {
    const file = (name: string): string => join(this.#directory, name)
    const { path } = this.#network.pod('enrolled').namespace
    await mkdir(file('ca'), { mode: 0o700 })
    await writeFile(file('mesh.yaml'), MESH)
    const pod = `uid: e, name: enrolled, namespace: shop, serviceAccount: enrolled, netns: ${path}`
    await writeFile(file('pods.yaml'), `pods:\n- {${pod}}\n`)
    const { namespace } = this.#network.node('n1')
    const ztunnel = this.#processes.start(namespace, process.execPath, ['--no-warnings', SUPERVISOR], {
      SIDESTEP_NODE_NAME: 'n1',
      SIDESTEP_CONFIG_FILE: file('mesh.yaml'),
      SIDESTEP_ENROLMENT_FILE: file('pods.yaml'),
      SIDESTEP_CA_DIRECTORY: file('ca'),
      SIDESTEP_STATE_DIRECTORY: file('state'),
      SIDESTEP_ADMIN_SOCKET: file('admin.sock'),
      SIDESTEP_RECORDS: 'off',
      SIDESTEP_LOG_LEVEL: 'warn',
      SIDESTEP_DRAIN_SECONDS: '0',
    })
    const resolver = this.#network.pod('resolver').namespace
    await this.#processes.hold(resolver, 'dns-echo', {}, START_TIMEOUT_MS)
    if (existsSync(DNSMASQ)) this.#startDnsmasq()
    for (
      const endMs = performance.now() + START_TIMEOUT_MS;
      !(await isReady(file('admin.sock')));
      await wait(50)
    )
      if (ztunnel.hasEnded || performance.now() > endMs) throw new Error(ztunnel.logEnd())
  }

  #startDnsmasq(): void {
    const { namespace } = this.#network.pod('relayed')
    const server = `--server=${IPS.resolver}`
    const options = [
      '--no-daemon',
      '--conf-file=/dev/null',
      '--no-resolv',
      '--no-hosts',
      '--cache-size=0',
      server,
    ]
    this.#processes.start(namespace, DNSMASQ, [...options, '--user=root', '--pid-file='], {})
  }
}

async function isReady(socketPath: string): Promise<boolean> {
  if (!existsSync(socketPath)) return false
  return await new Promise((resolve) => {
    get({ socketPath, path: '/ready', agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    }).on('error', () => resolve(false))
  })
}
