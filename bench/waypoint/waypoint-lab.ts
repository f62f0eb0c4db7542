// SPDX-License-Identifier: Apache-2.0
// One client behind one ztunnel, one server outside of the mesh, and two waypoints between them that are asked the same:
// ours and Envoy. Whichever is measured has one processor for itself; everything else shares the other.
//
//   client ── ztunnel n1 ══ HBONE ══ waypoint (sidestep | envoy) ── server (nginx)
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { exportPrivateKey } from '../../mesh/identity/pki.ts'
import { VirtualNetwork } from '../../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { parseH2loadOutput } from '../measure/h2load-output.ts'
import { childrenOf } from '../measure/process-usage.ts'
import { parseWrkOutput, type WrkResult } from '../measure/wrk-output.ts'
import { type LoggedProcess, Processes } from '../processes.ts'
import { createAuthority, writeCertificate } from '../subjects/certificate-files.ts'
import type { EnvoyFiles } from '../subjects/envoy-config.ts'
import { type Case, pathOf, serviceIp, type Waypoint } from './cases.ts'
import { waypointConfig } from './envoy-waypoint.ts'
import { GRPC_MESSAGE, writeGrpcServer, writeWebServer } from './servers.ts'
import { makeToken } from './token.ts'
import { CLIENT_IDENTITY, IPS, meshYaml, NAMESPACE, WAYPOINT_IDENTITY } from './waypoint-objects.ts'

const program = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const CONTROLLER = program('controller/main.ts')
const ZTUNNEL = program('ztunnel/supervisor/main.ts')
const WAYPOINT = program('waypoint/supervisor/main.ts')
const CONTROLLER_PORT = 15_012
const READY_TIMEOUT_MS = 30_000
const READY_INTERVAL_MS = 50
const LOAD_SLACK_MS = 20_000
/** Processors: of the proxies, and of everything else. */
const PROXY_CORE = '1'
const OTHER_CORE = '0'
/** Calls under way on each connection of gRPC. */
const CALLS_PER_CONNECTION = 4

/** What wrk or, for gRPC, h2load does. */
export interface Load {
  readonly waypoint: Waypoint
  readonly of: Case
  readonly file: 'small' | 'big'
  readonly connections: number
  readonly seconds: number
}

/** Owns its directory, namespaces and processes. */
export class WaypointLab {
  readonly #directory: string
  readonly #network: VirtualNetwork
  readonly #processes: Processes
  readonly #pids = new Map<Waypoint, LoggedProcess>()
  #token = ''

  private constructor(directory: string, path: string) {
    this.#directory = directory
    this.#processes = new Processes(directory, path)
    const pod = (name: keyof typeof IPS): { name: string; ip: string } => ({ name, ip: IPS[name] })
    this.#network = VirtualNetwork.create({
      nodes: [
        { name: 'n1', pods: [pod('client')] },
        { name: 'n2', pods: [pod('server'), pod('sidestep'), pod('envoy')] },
        { name: 'control' },
      ],
    })
  }

  /** Everything serves when this resolves. `path` is the children's PATH. @throws Error */
  static async open(envoy: string, path: string): Promise<WaypointLab> {
    const lab = new WaypointLab(await mkdtemp(join(tmpdir(), 'sidestep-waypoint-')), path)
    try {
      await lab.#start(envoy)
      return lab
    } catch (error) {
      const logs = lab.#processes.logs()
      await lab.close()
      throw new Error(`${error instanceof Error ? error.message : error}\n${logs}`)
    }
  }

  /** Processes of a waypoint: supervisor and data process, or Envoy. */
  pids(waypoint: Waypoint): number[] {
    const pid = this.#pids.get(waypoint)?.pid ?? -1
    return [pid, ...childrenOf(pid)]
  }

  /** The one that carries the requests. */
  dataPid(waypoint: Waypoint): number {
    return this.pids(waypoint).at(-1) ?? -1
  }

  /** @throws Error when a request fails */
  async load(load: Load): Promise<WrkResult> {
    const result = await (load.of.protocol === 'grpc' ? this.#loadGrpc(load) : this.#loadHttp(load))
    if (result.failures > 0) throw new Error(`${result.failures} of ${result.requests} requests failed`)
    return result
  }

  async #loadHttp({ waypoint, of, file, connections, seconds }: Load): Promise<WrkResult> {
    const url = `http://${serviceIp(waypoint, of)}${pathOf(of, file)}`
    const token = of.isSecured ? ['-H', `authorization: Bearer ${this.#token}`] : []
    const args = ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--latency', ...token, url]
    return parseWrkOutput(await this.#run(args, seconds))
  }

  async #loadGrpc({ waypoint, of, connections, seconds }: Load): Promise<WrkResult> {
    const file = (name: string): string => join(this.#directory, name)
    const url = `http://${serviceIp(waypoint, of)}${pathOf(of, 'small')}`
    await writeFile(file('message'), GRPC_MESSAGE)
    await rm(file('h2load.log'), { force: true })
    const headers = ['-H', 'content-type: application/grpc', '-H', 'te: trailers', '-d', file('message')]
    const args = [
      'h2load',
      `-c${connections}`,
      `-m${CALLS_PER_CONNECTION}`,
      `-D${seconds}`,
      '--warm-up-time=0',
    ]
    const text = await this.#run([...args, ...headers, `--log-file=${file('h2load.log')}`, url], seconds)
    return parseH2loadOutput(text, await readFile(file('h2load.log'), 'utf8'))
  }

  #run(command: readonly string[], seconds: number): Promise<string> {
    const { namespace } = this.#network.pod('client')
    const timeoutMs = seconds * 1000 + LOAD_SLACK_MS
    return this.#processes.run(namespace, 'taskset', ['-c', OTHER_CORE, ...command], timeoutMs)
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#processes.close()
    this.#network.close()
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #start(envoy: string): Promise<void> {
    const file = (name: string): string => join(this.#directory, name)
    const authority = await createAuthority(file('root.pem'))
    const { token, jwks } = await makeToken()
    this.#token = token
    await this.#startServers()
    await this.#startController(jwks, authority.certificatePem, await exportPrivateKey(authority.privateKey))
    const files: EnvoyFiles = {
      ...{ certificate: file('envoy.pem'), key: file('envoy.key'), root: file('root.pem') },
    }
    await writeFile(
      file('envoy.json'),
      JSON.stringify(waypointConfig(await writeCertificate(authority, 'envoy', files), jwks)),
    )
    const envoyArgs = ['-c', file('envoy.json'), '--concurrency', '1', '--disable-hot-restart']
    this.#pids.set(
      'envoy',
      this.#pinned(PROXY_CORE, this.#network.pod('envoy').namespace, [envoy, ...envoyArgs, '-l', 'warning']),
    )
    await this.#startZtunnel()
    await this.#startWaypoint()
  }

  async #startServers(): Promise<void> {
    const { namespace } = this.#network.pod('server')
    this.#pinned(OTHER_CORE, namespace, await writeWebServer(this.#directory))
    this.#pinned(OTHER_CORE, namespace, await writeGrpcServer(this.#directory))
  }

  async #startController(jwks: string, root: string, key: string): Promise<void> {
    const file = (name: string): string => join(this.#directory, name)
    await mkdir(file('config'))
    await writeFile(join(file('config'), 'mesh.yaml'), meshYaml(jwks))
    await mkdir(file('cacerts'), { mode: 0o700 })
    for (const name of ['ca-cert', 'root-cert', 'cert-chain'])
      await writeFile(join(file('cacerts'), `${name}.pem`), root)
    await writeFile(join(file('cacerts'), 'ca-key.pem'), key, { mode: 0o600 })
    const { ip, namespace } = this.#network.node('control')
    await this.#ready(
      'controller.sock',
      this.#pinned(OTHER_CORE, namespace, [
        ...[process.execPath, '--no-warnings', CONTROLLER, '--config-directory', file('config')],
        ...['--log-level', 'warn', '--ca-source', 'cacerts', '--cacerts-directory', file('cacerts')],
        ...['--listen-host', '0.0.0.0', '--listen-port', String(CONTROLLER_PORT), '--server-names', ip],
        ...['--state-directory', file('controller'), '--admin-socket', file('controller.sock')],
      ]),
    )
  }

  async #startZtunnel(): Promise<void> {
    const file = (name: string): string => join(this.#directory, name)
    const { path } = this.#network.pod('client').namespace
    const pod = { uid: 'client', name: 'client', namespace: NAMESPACE, serviceAccount: 'client', netns: path }
    await writeFile(file('pods.yaml'), JSON.stringify({ pods: [pod] }))
    const ztunnel = this.#pinned(
      OTHER_CORE,
      this.#network.node('n1').namespace,
      [process.execPath, '--no-warnings', ZTUNNEL],
      {
        ...(await this.#joined('n1', CLIENT_IDENTITY)),
        SIDESTEP_ENROLMENT_FILE: file('pods.yaml'),
        SIDESTEP_ADMIN_SOCKET: file('n1.sock'),
        SIDESTEP_WORKER_COUNT: '1',
      },
    )
    await this.#ready('n1.sock', ztunnel)
  }

  async #startWaypoint(): Promise<void> {
    const waypoint = this.#pinned(
      PROXY_CORE,
      this.#network.pod('sidestep').namespace,
      [process.execPath, '--no-warnings', WAYPOINT],
      {
        ...(await this.#joined('elsewhere', WAYPOINT_IDENTITY)),
        SIDESTEP_POD_NAME: 'sidestep',
        SIDESTEP_POD_NAMESPACE: NAMESPACE,
        SIDESTEP_SERVICE_ACCOUNT: 'sidestep',
        SIDESTEP_GATEWAY_NAME: 'sidestep',
        SIDESTEP_INSTANCE_IP: IPS.sidestep,
        SIDESTEP_ACCESS_LOG: 'off', // as Envoy's
        SIDESTEP_ADMIN_SOCKET: join(this.#directory, 'waypoint.sock'),
        SIDESTEP_WORKER_COUNT: '1',
      },
    )
    this.#pids.set('sidestep', waypoint)
    await this.#ready('waypoint.sock', waypoint)
  }

  /** Options of who follows the controller; joined by a token of its own. */
  async #joined(node: string, identity: string): Promise<Readonly<Record<string, string>>> {
    const token = join(this.#directory, `${node}.token`)
    const body = JSON.stringify({ node, identities: [identity] })
    const answer = await this.#ask('controller.sock', 'POST', '/join-tokens', body)
    if (answer.status !== 200) throw new Error(answer.text)
    await writeFile(token, (JSON.parse(answer.text) as { token: string }).token, { mode: 0o600 }) // as: our API
    return {
      SIDESTEP_NODE_NAME: node,
      SIDESTEP_CONTROLLER_ADDRESSES: `${this.#network.node('control').ip}:${CONTROLLER_PORT}`,
      SIDESTEP_CONTROLLER_ROOTS: join(this.#directory, 'root.pem'),
      SIDESTEP_CONTROLLER_TOKEN: token,
      SIDESTEP_STATE_DIRECTORY: join(this.#directory, `${node}.state`),
      SIDESTEP_RECORDS: 'off',
      SIDESTEP_LOG_LEVEL: 'warn',
      SIDESTEP_DRAIN_SECONDS: '0',
    }
  }

  #pinned(
    core: string,
    namespace: NetworkNamespace,
    command: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): LoggedProcess {
    return this.#processes.start(namespace, 'taskset', ['-c', core, ...command], env)
  }

  async #ready(socket: string, process: LoggedProcess): Promise<void> {
    for (const endMs = performance.now() + READY_TIMEOUT_MS; ; await wait(READY_INTERVAL_MS)) {
      if (process.hasEnded || performance.now() > endMs) throw new Error(`${socket}: not ready`)
      if (!existsSync(join(this.#directory, socket))) continue
      const answer = await this.#ask(socket, 'GET', '/ready').catch(() => null)
      if (answer?.status === 200) return
    }
  }

  #ask(
    socket: string,
    method: 'GET' | 'POST',
    path: string,
    body = '',
  ): Promise<{ readonly status: number; readonly text: string }> {
    const headers = body === '' ? {} : { 'content-type': 'application/json', 'content-length': body.length }
    const socketPath = join(this.#directory, socket)
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath, method, path, headers, agent: false }, (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      })
      asked.on('error', reject)
      asked.end(body)
    })
  }
}
