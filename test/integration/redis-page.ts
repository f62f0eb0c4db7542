// SPDX-License-Identifier: Apache-2.0
// Every command docs/redis.md shows, run as it stands there, one after the other; only the ports are others, because
// those may be taken.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { certificateRequests } from '../../mesh/identity/certificate-requests.ts'
import { systemClock as clock } from '../../mesh/runtime/clock.ts'
import { ControllerLink } from '../../ztunnel/controller-link.ts'
import { pageText, ROOT } from '../support/documents.ts'
import { poll } from '../support/mesh-lab.ts'
import { requestUnix } from '../support/unix-http.ts'

t.setTimeout(120_000)

async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: TCP
  server.close()
  await once(server, 'close')
  return port
}

t.test('the commands of the page start two replicas of which one leads', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'page-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const blocks = [...pageText('docs/redis.md').matchAll(/^```bash\n(.*?)^```$/gms)].map(
    ([, block = '']) => block,
  )
  t.ok(blocks.length >= 4)
  const ports = new Map(
    await Promise.all(['6379', '15012', '15013'].map(async (port) => [port, await freePort()] as const)),
  )
  let script = blocks.join('')
  for (const [shown, free] of ports) {
    t.ok(script.includes(shown))
    script = script.replaceAll(shown, String(free))
  }
  const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, HOME: home }
  // A group of its own: what the commands leave running ends with it.
  const shell = spawn('bash', ['-e', '-o', 'pipefail', '-c', script], { cwd: ROOT, env, detached: true })
  const group = shell.pid ?? 0
  t.teardown(() => process.kill(-group, 'SIGKILL'))
  let output = ''
  for (const stream of [shell.stdout, shell.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
  const [code] = (await once(shell, 'exit', { signal: AbortSignal.timeout(60_000) })) as [number | null] // as: its event
  t.equal(code, 0, output)

  const directory = join(home, 'replicas')
  t.equal(statSync(join(directory, 'password')).mode & 0o777, 0o600)
  t.notMatch(output, readFileSync(join(directory, 'password'), 'utf8').trim())
  t.match(output, /"count":1/)
  t.match(output, /shop\/cart/)
  const sockets = ['one', 'two'].map((name) => join(directory, `${name}.sock`))
  const leaders = await poll('a leader', async () => {
    const answers = await Promise.all(sockets.map((socket) => requestUnix(socket, 'GET', '/leader')))
    const leading = answers.filter(({ body }) => body.includes('"isLeader":true'))
    return leading.length > 0 ? leading.length : null
  })
  t.equal(leaders, 1)

  const [, token = ''] = /"token":"(sidestep-join\.[^"]+)"/.exec(output) ?? []
  const tokenFile = join(home, 'token')
  writeFileSync(tokenFile, token)
  const node = new ControllerLink({
    caAddresses: ['15012', '15013'].map((port) => `localhost:${ports.get(port)}`),
    ...{ rootsFile: join(directory, 'roots.pem'), tokenFile, clusterId: 'Kubernetes', nodeName: 'vm1' },
    ...{ trustDomain: 'cluster.local', stateDirectory: join(home, 'node'), requests: certificateRequests },
    ...{ clock, random: () => 0, log: pino({ level: 'silent' }) },
  })
  t.teardown(() => node.close())
  await node.start()
  t.ok((await node.credentials()).connection.identity, 'the node has joined')
})
