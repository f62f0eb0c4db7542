// SPDX-License-Identifier: Apache-2.0
// The demo's controller as a process: reads a directory of YAML, is the CA, lets nodes join. It may be killed and
// started again.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ControllerConfig } from '../controller/config.ts'
import type { NetworkNamespace } from '../mesh/reactor/netns.ts'
import { OwnProcess } from './own-process.ts'
import { TRUST_DOMAIN } from './plan.ts'

const CONTROLLER = fileURLToPath(new URL('../controller/main.ts', import.meta.url))
/** Where Istio's ztunnels look for theirs. */
const PORT = 15_012

/** A node that follows the controller, and as whom it proved itself. */
export interface Follower {
  readonly node: string
  readonly caller: string
}

/** Owns the process. */
export class ControllerProcess {
  /** `host:port` for nodes. */
  readonly address: string
  /** What the newcomer may edit. */
  readonly configDirectory: string
  /** PEM of the mesh's roots; there once it has started. */
  readonly rootsFile: string
  readonly #directory: string
  readonly #namespace: NetworkNamespace | null
  readonly #ip: string
  #process: OwnProcess | null = null

  /** `directory` is the demo's own; nodes reach the controller at `ip`, an address of `namespace`. */
  constructor(directory: string, namespace: NetworkNamespace | null, ip: string) {
    this.#directory = directory
    this.#namespace = namespace
    this.#ip = ip
    this.address = `${ip}:${PORT}`
    this.configDirectory = join(directory, 'config')
    this.rootsFile = join(directory, 'roots.pem')
  }

  get pid(): number {
    return this.#process?.pid ?? -1
  }

  get hasEnded(): boolean {
    return this.#process?.hasEnded ?? true
  }

  /** Writes the files it reads; call before start(). */
  async configure(files: Readonly<Record<string, string>>): Promise<void> {
    await mkdir(this.configDirectory, { recursive: true, mode: 0o700 })
    for (const [name, text] of Object.entries(files)) await writeFile(join(this.configDirectory, name), text)
  }

  /**
   * Starts it, again after a kill() too; it serves when this resolves. `signal` gives up.
   * @throws Error with the end of the log
   */
  async start(signal: AbortSignal): Promise<void> {
    const adminSocket = join(this.#directory, 'controller.sock')
    const config: Partial<ControllerConfig> = {
      configDirectory: this.configDirectory,
      listenHost: this.#ip,
      listenPort: PORT,
      serverNames: this.#ip,
      stateDirectory: join(this.#directory, 'controller'),
      trustDomain: TRUST_DOMAIN,
      adminSocket,
    }
    this.#process = new OwnProcess({
      ...{ name: 'the controller', script: CONTROLLER, config, namespace: this.#namespace },
      ...{ logFile: join(this.#directory, 'controller.log'), adminSocket },
    })
    await this.#process.ready(signal)
    await writeFile(this.rootsFile, await this.#ask('/ca/roots'))
  }

  /** Makes a token with which a node joins once, for the identities of its pods. */
  async joinToken(node: string, identities: readonly string[]): Promise<string> {
    return (JSON.parse(await this.#ask('/join-tokens', { node, identities })) as { token: string }).token // as: our API
  }

  /** Who follows it now. */
  async followers(): Promise<readonly Follower[]> {
    return JSON.parse(await this.#ask('/clients')) as Follower[] // as: our API
  }

  /** What it says is wrong with the files, one line each. */
  async complaints(): Promise<readonly string[]> {
    const { mistakes, findings } = JSON.parse(await this.#ask('/findings')) as Findings // as: our API
    return [
      ...mistakes.map(({ origin, path, message, suggestion }) =>
        [`${origin.file}:${origin.line}:${origin.column}`, path, message, suggestion]
          .filter(Boolean)
          .join(' '),
      ),
      ...findings.map(({ code, path, message, fix }) => [code, path, message, fix].filter(Boolean).join(' ')),
    ]
  }

  /** Ends it without a word to anybody. */
  async kill(): Promise<void> {
    await this.#process?.kill()
  }

  /** Lets it end in order. Idempotent. */
  async close(): Promise<void> {
    await this.#process?.close()
  }

  async #ask(path: string, body?: object): Promise<string> {
    if (this.#process === null) throw new Error('the controller was not started')
    const { status, text } = await this.#process.admin(path, body)
    if (status !== 200) throw new Error(`the controller answers ${status} on ${path}: ${text}`)
    return text
  }
}

interface Findings {
  readonly mistakes: readonly {
    readonly origin: { readonly file: string; readonly line: number; readonly column: number }
    readonly path: string
    readonly message: string
    readonly suggestion: string
  }[]
  readonly findings: readonly {
    readonly code: string
    readonly path: string
    readonly message: string
    readonly fix: string
  }[]
}
