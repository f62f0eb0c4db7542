// SPDX-License-Identifier: Apache-2.0
// A real redis-server of Debian's package, for one test: own port, own directory, ended by its process id.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectRedis, type RedisConnection, type RedisOptions } from '../../mesh/redis/redis-connection.ts'

const START_MS = 10_000

/** Lines of redis.conf beside address and directory. */
export interface RedisServerOptions {
  readonly config?: readonly string[]
  /** Speaks TLS only; files in the server's directory. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string }
  /** Wants a certificate under the `ca` of `tls` from everybody. */
  readonly wantsCertificate?: boolean
}

export class RedisServer {
  readonly port: number
  readonly directory: string
  readonly #options: RedisServerOptions
  #process: ChildProcess | null = null

  private constructor(port: number, directory: string, options: RedisServerOptions) {
    this.port = port
    this.directory = directory
    this.#options = options
  }

  static async open(options: RedisServerOptions = {}): Promise<RedisServer> {
    const directory = await mkdtemp(join(tmpdir(), 'sidestep-redis-'))
    const server = new RedisServer(await freePort(), directory, options)
    await server.start()
    return server
  }

  get options(): RedisOptions {
    return { host: '127.0.0.1', port: this.port }
  }

  async start(): Promise<void> {
    const { config = [], tls, wantsCertificate = false } = this.#options
    const lines = [
      'bind 127.0.0.1',
      `dir ${this.directory}`,
      'daemonize no',
      'save ""',
      'appendonly no',
      ...config,
    ]
    if (tls === undefined) lines.push(`port ${this.port}`)
    else {
      for (const [name, text] of Object.entries(tls))
        await writeFile(join(this.directory, `${name}.pem`), text)
      const fileOf = (name: string): string => join(this.directory, `${name}.pem`)
      lines.push('port 0', `tls-port ${this.port}`, `tls-cert-file ${fileOf('cert')}`)
      lines.push(`tls-auth-clients ${wantsCertificate ? 'yes' : 'no'}`)
      lines.push(`tls-key-file ${fileOf('key')}`, `tls-ca-cert-file ${fileOf('ca')}`)
    }
    const file = join(this.directory, 'redis.conf')
    await writeFile(file, `${lines.join('\n')}\n`)
    const child = spawn('redis-server', [file], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    let output = ''
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => reject(new Error(`redis-server does not start: ${output}`)), START_MS)
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        if (output.includes('Ready to accept connections')) resolve()
      })
    }
    child.on('error', reject)
    child.on('exit', () => reject(new Error(`redis-server ended: ${output}`)))
    await promise.finally(() => clearTimeout(timer))
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process
    this.#process = null
    if (child === null || child.exitCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  /** Stops the process where it is: connections stay, nothing is answered. */
  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#process?.kill('SIGCONT')
  }

  connect(options: Partial<RedisOptions> = {}): Promise<RedisConnection> {
    return connectRedis({ ...this.options, ...options })
  }

  async close(): Promise<void> {
    await this.kill()
    await rm(this.directory, { recursive: true })
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: TCP
  server.close()
  await once(server, 'close')
  return port
}
