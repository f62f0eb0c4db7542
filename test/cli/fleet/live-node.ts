// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { askAddress, liveNode } from '../../../cli/fleet/live-node.ts'

/** Serves on a Unix socket and on a port; gives both addresses. */
async function serve(t: Test, listener: RequestListener): Promise<readonly string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'live-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const socket = join(directory, 'a.sock')
  const byPort = createServer(listener).listen(0, '127.0.0.1')
  const servers = [createServer(listener).listen(socket), byPort]
  for (const server of servers) t.teardown(() => void server.close())
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const { port } = byPort.address() as AddressInfo // as: TCP
  return [socket, `127.0.0.1:${port}`]
}

t.test('a node is asked over its socket, or over a port that leads there', async (t) => {
  const asked: string[] = []
  const addresses = await serve(t, ({ method, url }, response) => {
    asked.push(`${method} ${url}`)
    response.end(url === '/node' ? '{"node":"n1"}' : '{"ok":true}')
  })
  for (const address of addresses) {
    asked.length = 0
    const node = liveNode(address, askAddress(address))
    t.equal(await node.name(), 'n1')
    await node.outbound({ source: 'shop/front', destination: 'a&b', port: 80 })
    await node.inbound({
      uid: 'u',
      ip: '10.0.0.1',
      port: 80,
      sourceIps: ['10.0.0.2', 'fd00::1'],
      identity: 'spiffe://a',
    })
    await node.pod('shop/cart')
    await node.post('/logging?level=debug')
    t.strictSame(asked, [
      'GET /node',
      'GET /explain-outbound?source=shop%2Ffront&destination=a%26b&port=80',
      'GET /explain-inbound?uid=u&ip=10.0.0.1&port=80&identity=spiffe%3A%2F%2Fa&source=10.0.0.2&source=fd00%3A%3A1',
      'GET /pod?name=shop%2Fcart',
      'POST /logging?level=debug',
    ])
  }
})

t.test('nobody there, a refusal and a cut answer are told as such', async (t) => {
  const gone = liveNode('/nowhere', askAddress('/nowhere'))
  await t.rejects(gone.read('/node'), { exitCode: 3, message: /\/nowhere does not answer: .*ENOENT/ })
  const [socket = ''] = await serve(t, ({ url }, response) => {
    if (url === '/cut') {
      response.writeHead(200, { 'content-length': 100 })
      response.write('x', () => response.destroy())
    } else response.writeHead(404).end('there is: /node\n')
  })
  const node = liveNode('n1', askAddress(socket))
  await t.rejects(node.read('/other'), { exitCode: 3, message: 'n1 refuses /other: 404 there is: /node' })
  await t.rejects(node.read('/cut'), { exitCode: 3, message: /n1 does not answer/ })
})
