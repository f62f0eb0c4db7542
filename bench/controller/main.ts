// SPDX-License-Identifier: Apache-2.0
// Does a controller keep up with a mesh of 1,000 services, 10,000 pods and 200 nodes? Writes CONTROLLER.md beside
// RESULTS.md. Needs no root. usage: npm run bench:controller [-- --changes N --out DIRECTORY]
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { NODE_FLAGS } from '../../controller/node-flags.ts'
import { parseResidentKb } from '../measure/process-usage.ts'
import type { ClientCommand, ClientReport } from './clients.ts'
import { NAMESPACE_YAML, serviceYaml } from './mesh-yaml.ts'

const { values } = parseArgs({
  options: {
    changes: { type: 'string', default: '50' },
    services: { type: 'string', default: '1000' },
    nodes: { type: 'string', default: '200' },
    out: { type: 'string', default: join(import.meta.dirname, '..') },
  },
})
const SIZE = { services: Number(values.services), podsPerService: 10, nodes: Number(values.nodes) }
const CHANGES = Number(values.changes)
const CERTIFICATES = 250
const CERTIFICATES_PER_SECOND = 1000 / 60
const DEADLINE_MS = 120_000

const directory = mkdtempSync(join(tmpdir(), 'bench-controller-'))
const socketPath = join(directory, 'admin.sock')
const children: ChildProcess[] = []

function start(script: string, args: readonly string[], stdio: 'ipc' | 'ignore'): ChildProcess {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = spawn(
    process.execPath,
    [...(stdio === 'ipc' ? ['--no-warnings'] : NODE_FLAGS), path, ...args],
    {
      stdio: ['ignore', 'ignore', 'inherit', ...(stdio === 'ipc' ? (['ipc'] as const) : [])],
    },
  )
  children.push(child)
  return child
}

async function admin(method: string, path: string, body = ''): Promise<{ status: number; text: string }> {
  const headers = body === '' ? {} : { 'content-type': 'application/json', 'content-length': body.length }
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, headers, agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + DEADLINE_MS; performance.now() < endMs; await wait(5))
    if (await holds()) return
  throw new Error(`${what}: not within ${DEADLINE_MS} ms`)
}

function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

const nowMs = (): number => performance.timeOrigin + performance.now()
const residentMb = (child: ChildProcess): number =>
  parseResidentKb(readFileSync(`/proc/${child.pid}/status`, 'latin1')) / 1024

function writeService(index: number, release: string): void {
  const path = join(directory, 'config', `service-${index}.yaml`)
  writeFileSync(`${path}.new`, serviceYaml(index, SIZE, release))
  renameSync(`${path}.new`, path)
}

interface Running {
  readonly controller: ChildProcess
  readonly readMs: number
}

/** A controller that has read the mesh. */
async function startController(): Promise<Running> {
  mkdirSync(join(directory, 'config'))
  writeFileSync(join(directory, 'config', 'namespace.yaml'), NAMESPACE_YAML)
  for (let index = 0; index < SIZE.services; index++) writeService(index, 'v1')
  const startMs = nowMs()
  const controller = start(
    '../../controller/main.ts',
    [
      ...[
        '--config-directory',
        join(directory, 'config'),
        '--listen-host',
        '127.0.0.1',
        '--listen-port',
        '0',
      ],
      ...['--state-directory', join(directory, 'state'), '--admin-socket', socketPath, '--log-level', 'warn'],
    ],
    'ignore',
  )
  await until('the controller ready', async () => {
    const answer = await admin('GET', '/ready').catch(() => null)
    return answer?.status === 200
  })
  return { controller, readMs: nowMs() - startMs }
}

/** The simulated ztunnels, joined. */
async function startClients(): Promise<ChildProcess> {
  const { port } = JSON.parse((await admin('GET', '/listening')).text) as { port: number } // as: the route's answer
  writeFileSync(join(directory, 'roots.pem'), (await admin('GET', '/ca/roots')).text)
  const tokens: Record<string, string> = {}
  for (let index = 0; index < SIZE.nodes; index++) {
    const body = JSON.stringify({ node: `node-${index}`, identities: [] })
    tokens[`node-${index}`] = JSON.parse((await admin('POST', '/join-tokens', body)).text).token
  }
  writeFileSync(join(directory, 'tokens.json'), JSON.stringify(tokens), { mode: 0o600 })
  const clients = start(
    './clients.ts',
    [`localhost:${port}`, join(directory, 'roots.pem'), join(directory, 'tokens.json')],
    'ipc',
  )
  await new Promise<void>((resolve) => clients.once('message', () => resolve()))
  return clients
}

async function measure(): Promise<readonly (readonly [string, string, string])[]> {
  const { controller, readMs } = await startController()
  const clients = await startClients()
  let acknowledged = new Map<number, number>()
  let expected = 0
  const lost: string[] = []
  const certificates: number[] = []
  clients.on('message', (report: ClientReport) => {
    if (report.type === 'lost') lost.push(report.detail)
    else if (report.type === 'certificate') {
      if (report.failure === '') certificates.push(report.ms)
      else lost.push(report.failure)
    } else if (report.type === 'acknowledged' && report.resources >= expected)
      acknowledged.set(report.client, report.atMs)
  })
  const say = (command: ClientCommand): void => void clients.send(command)

  expected = SIZE.services * (SIZE.podsPerService + 1)
  const followMs = nowMs()
  say({ type: 'follow' })
  await until('all follow', () => acknowledged.size === SIZE.nodes)
  const coldMs = Math.max(...acknowledged.values()) - followMs
  const peakMb = residentMb(controller)

  expected = 1
  const changes: number[] = []
  say({ type: 'certificates', count: CERTIFICATES, perSecond: CERTIFICATES_PER_SECOND })
  for (let index = 0; index < CHANGES; index++) {
    acknowledged = new Map()
    const changeMs = nowMs()
    writeService((index * 37) % SIZE.services, `v${index + 2}`)
    await until('the change everywhere', () => acknowledged.size === SIZE.nodes)
    changes.push(Math.max(...acknowledged.values()) - changeMs)
    await wait(200)
  }
  await until('all certificates', () => certificates.length + lost.length >= CERTIFICATES)
  if (lost.length > 0) throw new Error(`lost: ${lost.slice(0, 3).join('; ')} (${lost.length})`)
  const ms = (value: number): string => `${Math.round(value).toLocaleString('en-US')} ms`
  return [
    ['start until the directory is read and published', ms(readMs), ''],
    ['from nothing to all nodes acknowledged', ms(coldMs), '≤ 20,000 ms'],
    ['change of a file to the last acknowledgement, median', ms(percentile(changes, 0.5)), ''],
    ['the same, p99', ms(percentile(changes, 0.99)), '≤ 1,000 ms'],
    [
      'a certificate while changes are pushed, 1,000 per minute, median',
      ms(percentile(certificates, 0.5)),
      '',
    ],
    ['the same, p99', ms(percentile(certificates, 0.99)), '≤ 250 ms'],
    ['resident memory after the cold push', `${Math.round(peakMb)} MB`, '≤ 300 MB'],
    ['resident memory at the end', `${Math.round(residentMb(controller))} MB`, '≤ 300 MB'],
  ]
}

try {
  const rows = await measure()
  const text = `<!-- Written by \`npm run bench:controller\`. -->
# The controller under load

${SIZE.services.toLocaleString('en-US')} services × ${SIZE.podsPerService} pods from a directory of YAML, ${SIZE.nodes} simulated ztunnels that join, follow and acknowledge over gRPC and
TLS, ${CHANGES} changes of one service with its pods. Controller and clients share ${cpus().length} cores: ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}.

| | Measured | Goal |
|---|---|---|
${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}
`
  writeFileSync(join(values.out, 'CONTROLLER.md'), text)
  process.stdout.write(text)
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
}
