// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { liveNode, reachAddress } from '../../../cli/fleet/live-node.ts'

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
    const node = liveNode(address, reachAddress(address))
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
  const gone = liveNode('/nowhere', reachAddress('/nowhere'))
  await t.rejects(gone.read('/node'), { exitCode: 3, message: /\/nowhere does not answer: .*ENOENT/ })
  const [socket = ''] = await serve(t, ({ url }, response) => {
    if (url === '/cut') {
      response.writeHead(200, { 'content-length': 100 })
      response.write('x', () => response.destroy())
    } else response.writeHead(404).end('there is: /node\n')
  })
  const node = liveNode('n1', reachAddress(socket))
  await t.rejects(node.read('/other'), { exitCode: 3, message: 'n1 refuses /other: 404 there is: /node' })
  await t.rejects(node.read('/cut'), { exitCode: 3, message: /n1 does not answer/ })
})

t.test('an answer that goes on is read at the reader’s pace, until he leaves', async (t) => {
  const addresses = await serve(t, ({ url }, response) => {
    if (url === '/refused') response.writeHead(503).end('busy\n')
    else if (url === '/cut') {
      response.write('one')
      setTimeout(() => response.destroy(), 20)
    } else {
      response.write('one')
      setTimeout(() => response.write('two'), 10)
    }
  })
  for (const address of addresses) {
    const node = liveNode(address, reachAddress(address))
    const stopped = new AbortController()
    let text = ''
    for await (const chunk of node.stream('/tap', stopped.signal)) {
      text += String(chunk)
      if (text === 'onetwo') stopped.abort()
    }
    t.equal(text, 'onetwo', 'who leaves gets no error')
    const read = async (path: string) => {
      for await (const chunk of node.stream(path, new AbortController().signal)) text += String(chunk)
    }
    await t.rejects(read('/refused'), { exitCode: 3, message: /refuses \/refused: 503 busy/ })
    await t.rejects(read('/cut'), { exitCode: 3, message: /does not go on/ })
  }
  const nobody = liveNode('/nowhere', reachAddress('/nowhere'))
  const read = async () => {
    for await (const _ of nobody.stream('/tap', new AbortController().signal)) t.fail('nothing comes')
  }
  await t.rejects(read(), { exitCode: 3, message: /\/nowhere does not go on/ })
})
