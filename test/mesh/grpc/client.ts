// SPDX-License-Identifier: Apache-2.0
// The client where the server of test/mesh/grpc/server.ts does not bring it: absent, silent, foreign, too talkative.
import { createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { MAX_ANSWER_BYTES, openGrpcClient } from '../../../mesh/grpc/client.ts'
import { GrpcServer } from '../../../mesh/grpc/server.ts'
import { serverCertificate } from '../../support/server-certificate.ts'

const identity = await serverCertificate()
const PATH = '/test.Test/Size'

/** Answers with as many bytes as the request says. */
const start = (port = 0): Promise<GrpcServer> =>
  GrpcServer.start({
    host: '127.0.0.1',
    port,
    identity,
    methods: [
      { kind: 'unary', path: PATH, handle: async ({ request }) => Buffer.alloc(Number(request.toString())) },
    ],
  })

/** Accepts and says nothing. close() cuts who is connected. */
async function startSilent(t: Test): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => sockets.add(socket.on('error', () => {})))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(close)
  return { port: typeof address === 'object' && address !== null ? address.port : 0, close }
}

t.test('an answer over the limit is not taken', async (t) => {
  const server = await start()
  t.teardown(() => server.stop(0))
  const client = openGrpcClient({ address: `127.0.0.1:${server.port}`, rootsPem: identity.rootPem })
  t.teardown(() => client.close())
  const ask = (bytes: number) => client.call(PATH, Buffer.from(String(bytes)), {}, 10_000)
  const fits = await ask(MAX_ANSWER_BYTES)
  t.equal(fits.kind === 'bytes' ? fits.bytes.length : fits.details, MAX_ANSWER_BYTES)
  t.match(await ask(MAX_ANSWER_BYTES + 1), { kind: 'status', code: 8 })
})

t.test('a server that is absent, silent or foreign is a status, in time', async (t) => {
  const { port, close } = await startSilent(t)
  const codeOf = async (to: number, rootsPem: string): Promise<number> => {
    const client = openGrpcClient({ address: `localhost:${to}`, rootsPem })
    const answer = await client.call(PATH, Buffer.from('1'), {}, 1_500)
    client.close()
    return answer.kind === 'status' ? answer.code : 0
  }
  t.equal(await codeOf(port, identity.rootPem), 4, 'silent')
  close()
  t.equal(await codeOf(port, identity.rootPem), 14, 'absent')
  const server = await start()
  t.teardown(() => server.stop(0))
  t.equal(await codeOf(server.port, (await serverCertificate()).rootPem), 14, 'foreign')
})

t.test('the name in the certificate counts, unless another one is demanded', async (t) => {
  const server = await start()
  t.teardown(() => server.stop(0))
  for (const [serverName, kind] of [
    ['localhost', 'bytes'],
    ['ca.example', 'status'],
  ] as const) {
    const client = openGrpcClient({
      address: `127.0.0.1:${server.port}`,
      rootsPem: identity.rootPem,
      serverName,
    })
    t.equal((await client.call(PATH, Buffer.from('1'), {}, 3_000)).kind, kind, serverName)
    client.close()
  }
})

t.test('a header that cannot be sent and unreadable credentials are told', async (t) => {
  const server = await start()
  t.teardown(() => server.stop(0))
  const client = openGrpcClient({ address: `localhost:${server.port}`, rootsPem: identity.rootPem })
  const answer = await client.call(PATH, Buffer.from('1'), { authorization: 'Bearer a\nb' }, 1_000)
  t.match(answer, { kind: 'status', code: 3 })
  client.close()
  const bad = { certificatePem: 'no', privateKeyPem: 'no' }
  t.throws(() => openGrpcClient({ address: 'localhost:1', identity: bad }), { code: 'CERT_INVALID' })
})

t.test('closing ends what runs', async (t) => {
  const { port } = await startSilent(t)
  const client = openGrpcClient({ address: `localhost:${port}`, rootsPem: identity.rootPem })
  const running = client.call(PATH, Buffer.from('1'), {}, 60_000)
  client.close()
  t.match(await running, { kind: 'status', code: 1 })
})
