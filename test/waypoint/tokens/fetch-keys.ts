// SPDX-License-Identifier: Apache-2.0
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { fetchKeys, parseKeySet } from '../../../waypoint/tokens/fetch-keys.ts'
import { MAX_KEY_SET_BYTES, MAX_KEYS } from '../../../waypoint/tokens/limits.ts'

const UNUSABLE = { code: 'JWT_UNVERIFIABLE' }

async function serve(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/` // as: it listens on TCP
}

t.test('a set is fetched', async (t) => {
  const url = await serve(t, (_request, response) => response.end('{"keys":[{"kty":"EC","kid":"1"}],"x":1}'))
  t.same(await fetchKeys(url, 5000), { keys: [{ kty: 'EC', kid: '1' }] })
})

t.test('what is no set, too long, too slow or elsewhere is refused', async (t) => {
  const answers: Readonly<Record<string, RequestListener>> = {
    'an error': (_request, response) => response.writeHead(500).end('{"keys":[]}'),
    'no JSON': (_request, response) => response.end('<html>'),
    'no keys': (_request, response) => response.end('{}'),
    'a redirect': (_request, response) => response.writeHead(302, { location: '/other' }).end(),
    'never ending': (_request, response) => {
      const write = (): void => {
        if (!response.destroyed) response.write(' '.repeat(65_536), write)
      }
      write()
    },
    'nothing at all': () => {},
    'half of it': (_request, response) => void response.write('{"keys":'),
    'cut off': (_request, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('{')
      response.socket?.destroySoon()
    },
  }
  for (const [name, listener] of Object.entries(answers))
    await t.rejects(fetchKeys(await serve(t, listener), 500), UNUSABLE, name)
  await t.rejects(fetchKeys('http://127.0.0.1:1/', 500), UNUSABLE, 'nobody')
})

t.test('sets have a limit of keys and of bytes', async (t) => {
  const keys = (count: number): string => JSON.stringify({ keys: Array.from({ length: count }, () => ({})) })
  t.equal(parseKeySet(keys(MAX_KEYS), 'x').keys.length, MAX_KEYS)
  t.throws(() => parseKeySet(keys(MAX_KEYS + 1), 'x'), UNUSABLE)
  const padded = (bytes: number): string => '{"keys":[]}'.padEnd(bytes)
  for (const [bytes, isTaken] of [
    [MAX_KEY_SET_BYTES, true],
    [MAX_KEY_SET_BYTES + 1, false],
  ] as const) {
    const url = await serve(t, (_request, response) => response.end(padded(bytes)))
    if (isTaken) t.same(await fetchKeys(url, 5000), { keys: [] })
    else await t.rejects(fetchKeys(url, 5000), UNUSABLE)
  }
})
