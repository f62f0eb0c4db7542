// SPDX-License-Identifier: Apache-2.0
// Configuration that is changed through admin, on a real Redis; and where it is not.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { App } from '../../controller/app.ts'
import { readConfig } from '../../controller/config.ts'
import { openSources } from '../../controller/sources.ts'
import { systemClock as clock } from '../../mesh/runtime/clock.ts'
import { poll } from '../support/mesh-lab.ts'
import { RedisServer } from '../support/redis-server.ts'

const service = (name: string, port = 80): string =>
  `{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: shop}, ` +
  `spec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], ports: [{port: ${port}}]}}\n`

interface Answer {
  readonly status: number
  readonly body: { readonly error?: string; readonly reason?: string; readonly count?: number }
}

/** A controller in this process, and what its admin answers to a body of YAML. */
async function open(t: Test, ...args: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'objects-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const socketPath = join(directory, 'sock')
  const { options: config } = readConfig(
    [
      ...['--listen-host', '127.0.0.1', '--listen-port', '0', '--state-directory', directory],
      ...['--admin-socket', socketPath, ...args],
    ],
    {},
  )
  const app = new App({
    config,
    ...(await openSources(config, clock)),
    clock,
    log: pino({ level: 'silent' }),
  })
  await app.start()
  t.teardown(() => app.stop())
  const send = (method: string, text: string, type = 'application/yaml'): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const headers = { 'content-type': type, 'content-length': Buffer.byteLength(text) }
      const asked = request({ socketPath, method, path: '/objects', headers, agent: false }, (response) => {
        let answer = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (answer += chunk))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(answer) }))
      })
      asked.on('error', reject)
      asked.end(text)
    })
  const names = (): string[] => [...app.translation.services.keys()].map((key) => key.replace(/\.shop.*/, ''))
  const sees = (...services: string[]): Promise<unknown> =>
    poll(services.join(), () => names().toSorted().join() === services.map((s) => `shop/${s}`).join() || null)
  return { app, send, sees, directory }
}

async function openOnRedis(t: Test) {
  const server = await RedisServer.open()
  t.teardown(() => server.close())
  const args = ['--config-source', 'redis', '--redis-addresses', `redis://127.0.0.1:${server.port}`]
  return { server, ...(await open(t, ...args)) }
}

t.test('objects are put, removed and replaced, and every replica sees it', async (t) => {
  const lab = await openOnRedis(t)
  t.match(await lab.send('POST', `${service('cart')}---\n${service('front')}`), {
    status: 200,
    body: { count: 2 },
  })
  await lab.sees('cart', 'front')
  t.match(await lab.send('POST', JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [] })), {
    status: 400,
  })
  t.match(await lab.send('DELETE', service('cart')), { status: 200, body: { count: 1 } })
  await lab.sees('front')
  t.match(await lab.send('DELETE', service('cart')), { status: 200 }, 'what is gone may go again')
  // As curl sends a body that is not told to be anything else.
  const form = 'application/x-www-form-urlencoded'
  const others = '---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: shop}}'
  t.match(await lab.send('PUT', `${service('bank')}${others}`, form), { body: { count: 1, ignored: 1 } })
  await lab.sees('bank')
  const audit = readFileSync(join(lab.directory, 'audit.log'), 'utf8')
  for (const detail of ['put 2', 'delete 1', 'replace all 1'])
    t.match(audit, new RegExp(`"event":"objects-written".*"reason":"OK","detail":"${detail}"`))
})

t.test('of a body with a mistake nothing is written; the mistake has its place', async (t) => {
  const lab = await openOnRedis(t)
  await lab.send('POST', service('cart'))
  await lab.sees('cart')
  const wrong: readonly (readonly [text: string, error: RegExp])[] = [
    [
      `${service('front')}---\n${service('bank').replace('80', 'eighty')}`,
      /line 3, column \d+: spec.ports\[0\]/,
    ],
    [service('front').replace('Service', 'Servise'), /did you mean Service/],
    [`${service('front')}---\n{`, /line \d/],
    [': : :', /line 1/],
    ['', /no object in the body/],
    ['---\n', /no object in the body/],
    ['\u0000', /./],
    ['[1, 2]', /./],
    ['{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}', /no object in the body/],
    [service('front').replace('name: front', 'name: ../x'), /metadata.name/],
  ]
  for (const method of ['POST', 'PUT', 'DELETE'])
    for (const [text, error] of wrong)
      t.match(
        await lab.send(method, text),
        { status: 400, body: { error, reason: 'CONFIG_INVALID' } },
        `${method} ${text.slice(0, 40)}`,
      )
  t.match(await lab.send('POST', `# ${'x'.repeat(9_000_000)}`), { status: 413 })
  await lab.send('POST', service('last'))
  await lab.sees('cart', 'last')
})

t.test(
  'where the configuration is not changed through us, we say so; a Redis that is away too',
  async (t) => {
    const lab = await open(t, '--config-directory', t.testdir())
    t.match(await lab.send('POST', service('cart')), {
      ...{ status: 400, body: { error: /in the directory/, reason: 'REQUEST_INVALID' } },
    })
    const other = await openOnRedis(t)
    await other.send('POST', service('cart'))
    await other.server.kill()
    t.match(await other.send('POST', service('front')), {
      ...{ status: 503, body: { reason: 'REDIS_UNAVAILABLE' } },
    })
    await other.server.start()
  },
)
