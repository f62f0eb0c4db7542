// SPDX-License-Identifier: Apache-2.0
// gRPC by @grpc/grpc-js as tests in namespaces want it: a server that echoes, and a client that says what it got.
// usage: node rpc-peer.ts server PORT | node rpc-peer.ts client HOST:PORT
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'

const raw = (bytes: Buffer): Buffer => bytes
const method = (path: string, isStream: boolean) => ({
  ...{ path: `/test.Echo/${path}`, requestStream: isStream, responseStream: isStream },
  ...{ requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw },
})
const UNARY = method('Unary', false)
const CHAT = method('Chat', true)
const MESSAGES = 100

function serve(port: number): void {
  const server = new Server()
  server.addService(
    { unary: UNARY, chat: CHAT },
    {
      unary: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
        if (call.request.equals(Buffer.from('fail')))
          callback({ code: status.NOT_FOUND, details: 'no such thing' })
        else callback(null, Buffer.from(`${call.request} for ${call.metadata.get('x-forwarded-for')}`))
      },
      chat: (call: ServerDuplexStream<Buffer, Buffer>) => {
        call.on('data', (bytes: Buffer) => call.write(bytes))
        call.on('end', () => call.end())
      },
    },
  )
  server.bindAsync(`0.0.0.0:${port}`, ServerCredentials.createInsecure(), () => process.stdout.write('up\n'))
  process.stdin.on('end', () => process.exit(0)).resume()
}

/** The answer, or the status and its message. */
function ask(client: Client, text: string): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = UNARY
  return new Promise((resolve) => {
    const done = (error: ServiceError | null, answer?: Buffer): void =>
      resolve(error === null ? String(answer) : `${error.code} ${error.details}`)
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, Buffer.from(text), done)
  })
}

/** Messages that came back; -1: it was broken off. */
function chat(client: Client): Promise<number> {
  const { path, requestSerialize, responseDeserialize } = CHAT
  return new Promise((resolve) => {
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(path, requestSerialize, responseDeserialize)
    let count = 0
    call.on('data', () => count++)
    call.on('end', () => resolve(count))
    call.on('error', () => resolve(-1))
    for (let i = 0; i < MESSAGES; i++) call.write(Buffer.from(`message ${i}`))
    call.end()
  })
}

const [role = '', where = ''] = process.argv.slice(2)
if (role === 'server') serve(Number(where))
else {
  const client = new Client(where, credentials.createInsecure())
  const told = {
    answer: await ask(client, 'hello'),
    failure: await ask(client, 'fail'),
    chat: await chat(client),
  }
  process.stdout.write(JSON.stringify(told))
  client.close()
}
