// SPDX-License-Identifier: Apache-2.0
// A controller as a process of its own, on a directory, inside a namespace. Ends with close().
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import type { TestAccount } from './controller-with-accounts.ts'
import { poll } from './mesh-lab.ts'
import { requestUnix } from './unix-http.ts'

const CONTROLLER = fileURLToPath(new URL('../../controller/main.ts', import.meta.url))
const WITH_ACCOUNTS = fileURLToPath(new URL('./controller-with-accounts.ts', import.meta.url))
const PORT = 15_012

export class ControllerProcess {
  /** `host:port` for nodes. */
  readonly address: string
  /** PEM of the mesh's root; there once it has started. */
  readonly rootsFile: string
  readonly #directory: string
  readonly #namespace: NetworkNamespace
  readonly #ip: string
  /** Apart from the test's directory: the path of a Unix socket is short. */
  readonly #socketDirectory = mkdtempSync(join(tmpdir(), 'sidestep-controller-'))
  readonly #accounts: readonly TestAccount[]
  #child: ChildProcess | null = null

  /**
   * `directory` is the test's own; the controller is reached at `ip`, an address of the namespace. `accounts` are
   * service accounts it believes.
   */
  constructor(
    directory: string,
    namespace: NetworkNamespace,
    ip: string,
    accounts: readonly TestAccount[] = [],
  ) {
    this.#accounts = accounts
    this.#directory = directory
    this.#namespace = namespace
    this.#ip = ip
    this.address = `${ip}:${PORT}`
    this.rootsFile = join(directory, 'roots.pem')
  }

  /** Replaces the configuration. */
  async configure(yaml: string): Promise<void> {
    const path = join(this.#directory, 'config', 'mesh.yaml')
    await mkdir(join(this.#directory, 'config'), { recursive: true })
    await writeFile(`${path}.new`, yaml)
    await rename(`${path}.new`, path)
  }

  /** Starts it, again after a kill() too; it serves when this resolves. */
  async start(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.launch(environment)
    await poll('the controller ready', async () => {
      const answer = await requestUnix(this.#socket, 'GET', '/ready').catch(() => null)
      return answer?.status === 200 || null
    }).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log}`)
    })
    await writeFile(this.rootsFile, (await requestUnix(this.#socket, 'GET', '/ca/roots')).body)
  }

  /** Starts it and waits for nothing. */
  async launch(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const log = openSync(join(this.#directory, 'controller.log'), 'a', 0o600)
    const accountsFile = join(this.#directory, 'accounts.json')
    await writeFile(accountsFile, JSON.stringify(this.#accounts))
    const entry = this.#accounts.length === 0 ? [CONTROLLER] : [WITH_ACCOUNTS, accountsFile]
    const args = [
      ...['--no-warnings', ...entry, '--config-directory', join(this.#directory, 'config')],
      ...['--listen-host', '0.0.0.0', '--server-names', this.#ip],
      ...['--state-directory', join(this.#directory, 'controller')],
      ...['--admin-socket', this.#socket],
    ]
    const start = (): ChildProcess =>
      spawn(process.execPath, args, {
        stdio: ['ignore', log, log],
        env: { ...AGENT_ENVIRONMENT, ...environment },
      })
    this.#child = this.#namespace.run(start)
    closeSync(log)
  }

  /** Resolves with the exit code of one that ends by itself. */
  async ended(): Promise<number> {
    return await poll('the controller ended', () => this.#child?.exitCode ?? null)
  }

  /** SIGSTOP, SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  /** A token with which the node joins once. */
  async joinToken(node: string, identities: readonly string[]): Promise<string> {
    const { status, body } = await requestUnix(this.#socket, 'POST', '/join-tokens', { node, identities })
    if (status !== 200) throw new Error(body)
    return (JSON.parse(body) as { token: string }).token // as: the route's answer
  }

  /** What admin answers. */
  async admin(path: string): Promise<unknown> {
    return JSON.parse((await requestUnix(this.#socket, 'GET', path)).body)
  }

  /** Revokes a certificate. */
  async revoke(serialNumber: string): Promise<void> {
    const asked = { serialNumber, reason: 'keyCompromise' }
    const { status, body } = await requestUnix(this.#socket, 'POST', '/ca/revocations', asked)
    if (status !== 204) throw new Error(body)
  }

  get log(): string {
    return readFileSync(join(this.#directory, 'controller.log'), 'utf8').slice(-4000)
  }

  /** Ends it without a word to anybody. */
  async kill(): Promise<void> {
    const child = this.#child
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await poll('the controller ended', () => child.signalCode ?? child.exitCode)
  }

  async close(): Promise<void> {
    await this.kill()
    rmSync(this.#socketDirectory, { recursive: true, force: true })
  }

  get #socket(): string {
    return join(this.#socketDirectory, 'admin.sock')
  }
}

interface PodFacts {
  readonly name: string
  readonly ip: string
  readonly node: string
}

/** The mesh of MeshLab as one would apply it to Kubernetes; `denied` are the service accounts cart refuses. */
export function clusterYaml(pods: readonly PodFacts[], denied: readonly string[]): string {
  const ports = '[{name: http, port: 80, targetPort: 8080}, {name: greeter, port: 91, targetPort: 9001}]'
  return [
    '{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {sidestep.dev/mode: ambient}}}',
    ...pods.map(
      ({ name, ip, node }) =>
        `{apiVersion: v1, kind: Pod, metadata: {name: ${name}, namespace: shop, labels: {app: ${name}, tier: of-${name}}}, ` +
        `spec: {nodeName: ${node}, serviceAccountName: ${name}, containers: [{name: main}]}, ` +
        `status: {phase: Running, podIP: ${ip}, podIPs: [{ip: ${ip}}], conditions: [{type: Ready, status: "True"}]}}`,
    ),
    '{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}, ' +
      `clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: ${ports}}}`,
    ...denied.map(
      (name) =>
        '{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, ' +
        `metadata: {name: no-${name}, namespace: shop}, spec: {selector: {matchLabels: {app: cart}}, action: DENY, ` +
        `rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/${name}]}}]}]}}`,
    ),
  ].join('\n---\n')
}
