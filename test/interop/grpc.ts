// SPDX-License-Identifier: Apache-2.0
// grpc-js as client and server on both sides of a relay of ours: all four kinds of calls, statuses, metadata, deadlines.
import { once } from 'node:events'
import {
  Client,
  type ClientDuplexStream,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { freePort } from '../support/foreign-process.ts'
import { poll } from '../support/mesh-lab.ts'
import { RelayProxy } from '../support/relay-proxy.ts'

t.setTimeout(60_000)
const LARGE = Buffer.alloc(3_000_000, 'abcdefghijklmnopqrstuvwxyz0123456789-')
const MESSAGES = 500
const raw = (bytes: Buffer) => bytes
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${path}`,
  requestStream,
  responseStream,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
})
const METHODS = {
  unary: method('Unary', false, false),
  fail: method('Fail', false, false),
  never: method('Never', false, false),
  spread: method('Spread', false, true),
  breakOff: method('BreakOff', false, true),
  gather: method('Gather', true, false),
  chat: method('Chat', true, true),
}

/** A server of all kinds of calls, and what it sees of clients that give up. */
class Application {
  cancelledCount = 0
  readonly #server = new Server({ 'grpc.max_receive_message_length': -1 })

  async listen(): Promise<number> {
    this.#server.addService(METHODS, {
      unary: this.#unary,
      fail: this.#fail,
      never: this.#never,
      spread: this.#spread,
      breakOff: this.#breakOff,
      gather: this.#gather,
      chat: this.#chat,
    })
    return await new Promise((resolve, reject) => {
      const done = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error))
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), done)
    })
  }

  close(): void {
    this.#server.forceShutdown()
  }

  readonly #unary: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    const initial = new Metadata()
    initial.set('x-asked', call.metadata.get('x-asked')[0] ?? '-')
    initial.set('x-binary-bin', Buffer.from([0, 255, 10]))
    call.sendMetadata(initial)
    const trailing = new Metadata()
    trailing.set('x-told', 'at the end')
    callback(null, call.request, trailing)
  }
  readonly #fail: handleUnaryCall<Buffer, Buffer> = (_call, callback) => {
    const metadata = new Metadata()
    metadata.set('x-why', 'because')
    callback({ code: status.FAILED_PRECONDITION, details: 'nö: 100 %\nsure', metadata })
  }
  readonly #never: handleUnaryCall<Buffer, Buffer> = (call) => {
    call.on('cancelled', () => this.cancelledCount++)
  }
  readonly #spread: handleServerStreamingCall<Buffer, Buffer> = (call) => {
    for (let i = 0; i < MESSAGES; i++) call.write(Buffer.from(`${call.request} ${i}`))
    call.end()
  }
  readonly #breakOff: handleServerStreamingCall<Buffer, Buffer> = (call) => {
    call.write(call.request)
    call.emit('error', { code: status.DATA_LOSS, details: 'half of it' })
  }
  readonly #gather: handleClientStreamingCall<Buffer, Buffer> = (call, callback) => {
    let bytes = 0
    call.on('data', (message: Buffer) => {
      bytes += message.length
    })
    call.on('end', () => callback(null, Buffer.from(`${bytes}`)))
  }
  readonly #chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
    call.on('cancelled', () => this.cancelledCount++)
    call.on('data', (message: Buffer) => {
      if (message.toString() === 'bye') call.end()
      else call.write(Buffer.concat([Buffer.from('re: '), message]))
    })
    call.on('end', () => call.end())
  }
}

async function start(t: Test) {
  const application = new Application()
  const proxy = new RelayProxy({ down: 'h2', up: 'h2' }, await application.listen(), {
    streamWindowBytes: 100_000,
  })
  const client = clientOf(t, proxy.port)
  t.teardown(() => {
    proxy.close()
    application.close()
  })
  return { application, proxy, client }
}

function clientOf(t: Test, port: number): Client {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.enable_retries': 0,
  })
  t.teardown(() => client.close())
  return client
}

interface Outcome {
  readonly error: ServiceError | null
  readonly message: Buffer
  readonly initial: Metadata
  readonly trailing: Metadata
}

/** A unary call to its end. */
function call(
  client: Client,
  path: string,
  message: Buffer,
  metadata = new Metadata(),
  options = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    let initial = new Metadata()
    let trailing = new Metadata()
    let outcome: Pick<Outcome, 'error' | 'message'> | null = null
    const settle = () => outcome !== null && resolve({ ...outcome, initial, trailing })
    const request = client.makeUnaryRequest(path, raw, raw, message, metadata, options, (error, answer) => {
      outcome = { error, message: answer ?? Buffer.alloc(0) }
    })
    request.on('metadata', (got) => {
      initial = got
    })
    request.on('status', (got) => {
      trailing = got.metadata
      setImmediate(settle)
    })
  })
}

t.test('unary calls pass whole, with metadata before and after', async (t) => {
  const { client, proxy } = await start(t)
  const metadata = new Metadata()
  metadata.set('x-asked', 'first')
  const { error, message, initial, trailing } = await call(client, METHODS.unary.path, LARGE, metadata)
  t.equal(error, null)
  t.ok(message.equals(LARGE))
  t.same(initial.get('x-asked'), ['first'])
  t.same(initial.get('x-binary-bin'), [Buffer.from([0, 255, 10])])
  t.same(trailing.get('x-told'), ['at the end'])
  const answers = await Promise.all(
    Array.from({ length: 150 }, (_, i) => call(client, METHODS.unary.path, LARGE.subarray(i, i * 100))),
  )
  t.ok(
    answers.every((answer, i) => answer.message.equals(LARGE.subarray(i, i * 100))),
    '150 at once',
  )
  await poll('all exchanges are over', () => proxy.reasons.length === 151 || null)
  t.ok(proxy.reasons.every(({ code }) => code === 'OK'))
})

t.test('a status without a message comes as it was sent', async (t) => {
  const { client } = await start(t)
  const { error } = await call(client, METHODS.fail.path, Buffer.from('x'))
  t.equal(error?.code, status.FAILED_PRECONDITION)
  t.equal(error?.details, 'nö: 100 %\nsure')
  t.same(error?.metadata.get('x-why'), ['because'])
  const unknown = await call(client, '/test.Echo/Nothing', Buffer.from('x'))
  t.equal(unknown.error?.code, status.UNIMPLEMENTED)
})

t.test('messages stream from the server, from the client, and both ways at once', async (t) => {
  const { client } = await start(t)
  const spread = client.makeServerStreamRequest(METHODS.spread.path, raw, raw, Buffer.from('n'))
  const got: string[] = []
  for await (const message of spread) got.push(message.toString())
  t.equal(got.length, MESSAGES)
  t.same([got[0], got[MESSAGES - 1]], ['n 0', `n ${MESSAGES - 1}`])

  const gathered = await new Promise<string>((resolve, reject) => {
    const done = (error: ServiceError | null, answer?: Buffer) =>
      error === null ? resolve(`${answer}`) : reject(error)
    const gather = client.makeClientStreamRequest(METHODS.gather.path, raw, raw, done)
    for (let i = 0; i < 20; i++) gather.write(LARGE.subarray(0, 100_000))
    gather.end()
  })
  t.equal(gathered, '2000000')

  const chat: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(METHODS.chat.path, raw, raw)
  for (let i = 0; i < 20; i++) {
    chat.write(Buffer.from(`turn ${i}`))
    const [message] = await once(chat, 'data')
    t.equal(`${message}`, `re: turn ${i}`)
  }
  chat.write(Buffer.from('bye')) // the server ends first
  const [{ code }] = await once(chat, 'status')
  t.equal(code, status.OK)
})

t.test('a status after messages comes after them', async (t) => {
  const { client } = await start(t)
  const broken = client.makeServerStreamRequest(METHODS.breakOff.path, raw, raw, Buffer.from('part'))
  const got: string[] = []
  broken.on('data', (message: Buffer) => got.push(message.toString()))
  const [error] = await once(broken, 'error')
  t.same([got, error.code, error.details], [['part'], status.DATA_LOSS, 'half of it'])
})

t.test('deadlines and clients that give up are heard by the server', async (t) => {
  const { client, application, proxy } = await start(t)
  const late = await call(client, METHODS.never.path, Buffer.from('x'), new Metadata(), {
    deadline: Date.now() + 300,
  })
  t.equal(late.error?.code, status.DEADLINE_EXCEEDED)
  await poll('the server hears of the deadline', () => application.cancelledCount === 1 || null)
  const chat = client.makeBidiStreamRequest(METHODS.chat.path, raw, raw)
  chat.on('error', () => {})
  chat.write(Buffer.from('hello'))
  await once(chat, 'data')
  chat.cancel()
  await poll('the server hears of the cancel', () => application.cancelledCount === 2 || null)
  await poll('both are over', () => proxy.reasons.length === 2 || null)
  t.same(
    proxy.reasons.map(({ code }) => code),
    ['STREAM_RESET', 'STREAM_RESET'],
  )
})

t.test('a reason of ours is a status of gRPC', async (t) => {
  const proxy = new RelayProxy({ down: 'h2', up: 'h2' }, await freePort())
  t.teardown(() => proxy.close())
  const { error } = await call(clientOf(t, proxy.port), METHODS.unary.path, Buffer.from('x'))
  t.equal(error?.code, status.UNAVAILABLE)
  t.equal(error?.details, 'ENDPOINT_REFUSED')
  t.same(error?.metadata.get('x-sidestep-reason'), ['ENDPOINT_REFUSED'])
})

t.test('a server that is lost in the middle is no status of its own', async (t) => {
  const { client, application } = await start(t)
  const chat = client.makeBidiStreamRequest(METHODS.chat.path, raw, raw)
  chat.write(Buffer.from('hello'))
  await once(chat, 'data')
  application.close()
  const [error] = await once(chat, 'error')
  t.not(error.code, status.OK)
  t.not(error.code, status.CANCELLED)
})
