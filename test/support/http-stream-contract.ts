// SPDX-License-Identifier: Apache-2.0
// The contract of mesh/http/http-stream.ts as a suite: run it against every version of HTTP.
import type { TAP, Test } from 'tap'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import { ManualScheduler, memoryBlock } from '../../mesh/reactor/memory-pair.ts'
import { send } from './h2-pair.ts'
import { connectHttp, type HttpVersion, RecordedEnd, SMALL_WINDOWS } from './http-wire.ts'
import { answer, get } from './http1-pair.ts'

const POST = get('/', 'POST')
const LARGE = 300_000

/** One connection, whose requests are recorded. */
class Exchanges {
  readonly scheduler = new ManualScheduler()
  readonly requests: RecordedEnd[] = []
  readonly #client

  constructor(version: HttpVersion) {
    const resources = new SessionResources({ scheduler: this.scheduler, allocateBlock: memoryBlock })
    const onRequest = (...request: ConstructorParameters<typeof RecordedEnd>) =>
      void this.requests.push(new RecordedEnd(...request))
    this.#client = connectHttp(version, this.scheduler, resources, onRequest, {
      local: SMALL_WINDOWS,
      highWaterBytes: 10_000,
    })
  }

  run(): void {
    this.scheduler.runUntilIdle()
  }

  /** Sends a request and lets it arrive. */
  ask(headers: HeaderList, isEnd: boolean): { near: RecordedEnd; far: RecordedEnd } {
    const near = new RecordedEnd(this.#client.open(headers, isEnd), headers, isEnd)
    this.run()
    const far = this.requests.at(-1)
    if (far === undefined) throw new Error('no request came')
    return { near, far }
  }
}

type Run = (title: string, body: (exchanges: Exchanges, test: Test) => void) => void

/** Registers the contract's tests for a version. */
export function testHttpStreamContract(tap: TAP, version: HttpVersion): void {
  const run: Run = (title, body) =>
    tap.test(`${version}: ${title}`, async (test) => body(new Exchanges(version), test))
  runMessages(run)
  runBodiless(run)
  runEnds(run)
}

function runMessages(run: Run): void {
  run('a request arrives in the one form of the mesh', (exchanges, test) => {
    const fields = ['cookie', 'a=1', 'te', 'trailers', 'x-a', 'ä\t~']
    const { far } = exchanges.ask(get('/p?q', 'GET', ...fields), true)
    test.same(new Map(pairs(far.headers)), new Map(pairs(get('/p?q', 'GET', ...fields))))
    test.equal(far.isEnd, true)
    test.same(far.body.events, ['end'])
  })
  run('interim answers, the answer and bodies pass, trailers end both', (exchanges, test) => {
    const { near, far } = exchanges.ask(get('/', 'POST', 'te', 'trailers', 'trailer', 'x-t'), false)
    far.stream.sendHeaders(answer('100'), false)
    far.stream.sendHeaders(answer('103', 'link', '</a>'), false)
    exchanges.run()
    test.same(near.said.lists, [answer('100'), answer('103', 'link', '</a>')])
    send(near.stream, 'question')
    near.stream.sendHeaders(['x-t', 'asked'], true)
    exchanges.run()
    test.equal(far.body.text(), 'question')
    test.same(far.said.lists, [['x-t', 'asked']])
    test.same(far.body.events, ['data', 'end'])
    far.stream.sendHeaders(answer('200', 'x-b', 'c'), false)
    send(far.stream, 'reply')
    far.stream.sendHeaders(['x-u', 'told'], true)
    exchanges.run()
    test.same(near.said.lists.slice(2), [answer('200', 'x-b', 'c'), ['x-u', 'told']])
    test.same(near.said.ends, [false, false, false, true])
    test.equal(near.body.text(), 'reply')
    test.same(near.body.events, ['data', 'end', 'close'])
    test.same([near.code, far.code], ['OK', 'OK'])
  })
  run(
    'trailers leave after the bytes that wait, and are told after those that are not read',
    (exchanges, test) => {
      const { near, far } = exchanges.ask(POST, false)
      far.stream.pause()
      test.ok(far.stream.isPaused)
      send(near.stream, Buffer.alloc(LARGE, 'x'))
      near.stream.sendHeaders(['x-t', 'last'], true)
      exchanges.run()
      test.same([far.said.lists, far.body.bytes], [[], 0])
      far.stream.resume()
      test.notOk(far.stream.isPaused)
      exchanges.run()
      test.equal(far.body.bytes, LARGE)
      test.same(far.said.lists, [['x-t', 'last']])
      test.same(far.body.events, ['data', 'end'])
      near.stream.pause()
      far.stream.sendHeaders(answer('200'), false)
      for (let i = 0; i < 3; i++) send(far.stream, Buffer.alloc(LARGE, 'y'))
      far.stream.sendHeaders(['x-u', 'last'], true)
      exchanges.run()
      test.same([near.said.lists.flat().includes('x-u'), near.body.bytes], [false, 0])
      near.stream.resume()
      exchanges.run()
      test.equal(near.body.bytes, 3 * LARGE)
      test.same(near.said.lists[1], ['x-u', 'last'])
      test.same([near.code, far.code], ['OK', 'OK'])
    },
  )
  run('trailers without a field are an end', (exchanges, test) => {
    const { near, far } = exchanges.ask(POST, false)
    send(near.stream, 'x')
    near.stream.sendHeaders([], true)
    exchanges.run()
    far.stream.sendHeaders(answer('200'), false)
    far.stream.sendHeaders([], true)
    exchanges.run()
    test.same(far.body.events, ['data', 'end', 'close'])
    test.same([near.code, far.code], ['OK', 'OK'])
  })
}

function pairs(headers: HeaderList): [string, string][] {
  const found: [string, string][] = []
  for (let i = 0; i + 1 < headers.length; i += 2) found.push([headers[i] ?? '', headers[i + 1] ?? ''])
  return found
}

function runBodiless(run: Run): void {
  const cases = [
    ['HEAD', '200'],
    ['GET', '204'],
    ['GET', '304'],
  ] as const
  for (const [method, status] of cases) {
    run(`an answer of ${status} to ${method} has no body, whatever is written`, (exchanges, test) => {
      const { near, far } = exchanges.ask(get('/', method), true)
      const length = status === '204' ? [] : ['content-length', '9']
      far.stream.sendHeaders(answer(status, ...length), false)
      send(far.stream, 'unwanted!')
      far.stream.end()
      exchanges.run()
      test.same(near.said.lists, [answer(status, ...length)])
      test.equal(near.body.bytes, 0)
      test.same(near.body.events, ['end', 'close'])
      test.same([near.code, far.code], ['OK', 'OK'])
    })
  }
  run('an answer without a body says so at once', (exchanges, test) => {
    const { near, far } = exchanges.ask(get('/'), true)
    far.stream.sendHeaders(answer('200', 'content-length', '0'), true)
    exchanges.run()
    test.same(near.said.ends, [true])
    test.equal(near.stream.isRemoteEnded, true)
    test.same([near.code, far.code], ['OK', 'OK'])
  })
}

function runEnds(run: Run): void {
  for (const body of ['1234', '12345678901234567890']) {
    run(`a body of ${body.length} bytes where 10 were announced is no whole one`, (exchanges, test) => {
      const answered = exchanges.ask(get('/'), true)
      answered.far.stream.sendHeaders(answer('200', 'content-length', '10'), false)
      send(answered.far.stream, body)
      answered.far.stream.end()
      exchanges.run()
      test.notOk(answered.near.body.events.includes('end'))
      test.not(answered.near.code, 'OK')
      test.not(answered.near.code, '')
    })
    run(`nor is one of a request, ${body.length} bytes of 10`, (exchanges, test) => {
      const asked = exchanges.ask(get('/', 'POST', 'content-length', '10'), false)
      send(asked.near.stream, body)
      asked.near.stream.end()
      exchanges.run()
      test.notOk(asked.far.body.events.includes('end'))
      test.notOk(['', 'OK'].includes(asked.far.code), asked.far.code)
      test.notOk(['', 'OK'].includes(asked.near.code), asked.near.code)
    })
  }
  run('an exchange of a server is over with its answer, one of a client with both', (exchanges, test) => {
    const { near, far } = exchanges.ask(POST, false)
    send(near.stream, 'some')
    exchanges.run()
    far.stream.sendHeaders(answer('413', 'content-length', '0'), true)
    exchanges.run()
    test.equal(far.code, 'OK')
    test.equal(far.stream.isClosed, true)
    test.same(near.said.lists, [answer('413', 'content-length', '0')])
    test.ok(near.body.events.includes('end'))
    near.stream.end()
    exchanges.run()
    test.not(near.code, '')
    far.stream.sendHeaders(['late', 'x'], true)
    far.stream.end()
    exchanges.run()
    test.equal(near.said.lists.length, 1)
  })
  run('a client that gives up, and a server that does, end the exchange of the other', (exchanges, test) => {
    const first = exchanges.ask(POST, false)
    first.far.stream.sendHeaders(answer('200'), false)
    send(first.far.stream, 'half')
    exchanges.run()
    first.far.stream.destroy({ code: 'UPSTREAM_PROTOCOL', detail: 'x' })
    exchanges.run()
    test.notOk(['', 'OK'].includes(first.near.code), first.near.code)
    test.equal(first.far.code, 'UPSTREAM_PROTOCOL')
    test.notOk(first.near.body.events.includes('end'))
  })
  run('a client that gives up ends the exchange of its server', (exchanges, test) => {
    const { near, far } = exchanges.ask(POST, false)
    near.stream.destroy({ code: 'STREAM_RESET', detail: 'enough' })
    exchanges.run()
    test.same(near.body.reason, { code: 'STREAM_RESET', detail: 'enough' })
    test.notOk(['', 'OK'].includes(far.code), far.code)
    test.same(far.body.events, ['close'])
  })
  run('CONNECT that is granted carries bytes, and each half ends alone', (exchanges, test) => {
    const { near, far } = exchanges.ask([':method', 'CONNECT', ':authority', 'cart:80'], false)
    far.stream.sendHeaders(answer('200'), false)
    exchanges.run()
    send(near.stream, 'there')
    send(far.stream, 'back')
    far.stream.end()
    exchanges.run()
    test.same([near.body.text(), far.body.text(), near.code], ['back', 'there', ''])
    send(near.stream, ', more')
    near.stream.end()
    exchanges.run()
    test.same([far.body.text(), near.code, far.code], ['there, more', 'OK', 'OK'])
  })
}
