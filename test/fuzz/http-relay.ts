// SPDX-License-Identifier: Apache-2.0
// Whatever client and server do to each other through a relay, for every pair of versions: nothing is lost, swapped or taken for
// whole that is not, both sides hear an end, and nothing stays behind.
import fc from 'fast-check'
import t from 'tap'
import { headerValue } from '../../mesh/http/header-list.ts'
import { send } from '../support/h2-pair.ts'
import { HTTP_VERSIONS, type RecordedEnd } from '../support/http-wire.ts'
import { answer, get } from '../support/http1-pair.ts'
import { RelayPair } from '../support/relay-pair.ts'

const action = fc.record({
  kind: fc.constantFrom(
    'write',
    'write',
    'write',
    'write',
    'trailers',
    'trailers',
    'end',
    'head',
    'pause',
    'pause',
    'resume',
    'destroy',
    'cut',
    'turn',
  ),
  isServer: fc.boolean(),
  bytes: fc.constantFrom(1, 100, 5_000, 9_000, 15_000, 70_000),
})
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never

/** One end of the exchange, and what it has said. */
class Speaker {
  readonly end: RecordedEnd
  sent = ''
  trailers = ''
  hasEnded = false
  /** Bytes may be written: a client may from the start. */
  isOpen: boolean
  readonly #letter: string

  constructor(end: RecordedEnd, isOpen: boolean, letter: string) {
    this.end = end
    this.isOpen = isOpen
    this.#letter = letter
  }

  act({ kind, bytes }: Action): void {
    const { stream } = this.end
    const canSpeak = this.isOpen && !this.hasEnded && !stream.isClosed
    if (kind === 'pause') stream.pause()
    else if (kind === 'resume') stream.resume()
    else if (kind === 'destroy') stream.destroy({ code: 'STREAM_RESET', detail: 'enough' })
    else if (kind === 'head' && !this.isOpen && !stream.isClosed) {
      stream.sendHeaders(answer('103'), false)
      stream.sendHeaders(answer('200'), false)
      this.isOpen = true
    } else if (kind === 'write' && canSpeak) {
      // Each letter says where it stands.
      const text = Array.from({ length: bytes }, (_, i) => this.#letter + ((this.sent.length + i) % 10)).join(
        '',
      )
      send(stream, text.slice(0, bytes))
      this.sent += text.slice(0, bytes)
    } else if ((kind === 'end' || kind === 'trailers') && canSpeak) {
      this.hasEnded = true
      if (kind === 'end') stream.end()
      else {
        this.trailers = `${this.sent.length}`
        stream.sendHeaders(['x-sum', this.trailers], true)
      }
    }
  }
}

/** What one end heard is what the other said: the beginning of it, or all where the end was told. */
function isHonest(heard: RecordedEnd, said: Speaker): boolean {
  const text = heard.body.text()
  if (!heard.body.events.includes('end')) return said.sent.startsWith(text)
  const last = heard.said.lists.at(-1) ?? []
  return said.hasEnded && text === said.sent && (headerValue(last, 'x-sum') ?? '') === said.trailers
}

for (const down of HTTP_VERSIONS) {
  for (const up of HTTP_VERSIONS) {
    t.test(`${down} to ${up}: what is heard was said, whatever happens`, async (t) => {
      const run = (actions: readonly Action[]): boolean => {
        const pair = new RelayPair({ down, up })
        const { near, far } = pair.ask(get('/', 'POST'), false)
        const client = new Speaker(near, true, 'c')
        const server = new Speaker(far, false, 's')
        for (const each of actions) {
          if (each.kind === 'turn') pair.scheduler.runTurn()
          else if (each.kind === 'cut') {
            if (each.isServer && each.bytes === 1) pair.cutUpstream()
          } else if (each.isServer) server.act(each)
          else client.act(each)
        }
        for (const { stream } of [near, far]) stream.resume()
        pair.run()
        const isOurs = near.said.lists.some((list) => headerValue(list, 'x-sidestep-reason') !== undefined)
        if (!isHonest(far, client) || (!isOurs && !isHonest(near, server))) return false
        // Whoever has not ended is cut off now: then all is over.
        near.stream.destroy({ code: 'STREAM_RESET', detail: 'over' })
        pair.run()
        pair.cutUpstream()
        pair.scheduler.advance(30_000)
        const isOver = near.code !== '' && far.code !== '' && pair.reasons.length === 1
        return isOver && pair.resources.inboundUsedBytes === 0
      }
      fc.assert(fc.property(fc.array(action, { maxLength: 30 }), run), { numRuns: 1_000 })
      t.pass()
    })
  }
}
