// SPDX-License-Identifier: Apache-2.0
// All of h2spec against our server of HTTP/2 with prior knowledge, on real sockets.
import t from 'tap'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import { h2specBinary } from '../../scripts/h2spec.ts'
import { runForeign } from '../support/foreign-process.ts'
import { send } from '../support/h2-pair.ts'
import { serve } from '../support/http-wire.ts'
import { ReactorHost } from '../support/reactor-host.ts'

t.setTimeout(400_000)
/** What h2spec 2.2.1 has; strict cases are those of "should". */
const CASES = 146
/** h2spec sends a frame of 20 KB as one that is too large, whatever was announced. */
const LOCAL = { maxFrameBytes: 16_384 }

/** Answers each request that came whole with a short body. */
function answer(stream: HttpStream): void {
  stream.setHandler({
    onData() {},
    onEnd() {
      stream.sendHeaders([':status', '200', 'content-type', 'text/plain'], false)
      send(stream, 'whole')
      stream.end()
    },
    onDrain() {},
    onClose() {},
  })
}

t.test('every case of h2spec passes, the strict ones too', async (t) => {
  const binary = await h2specBinary()
  const host = new ReactorHost()
  t.teardown(() => host.close())
  const port = host.listen((socket) => serve('h2', socket, host.resources, answer, LOCAL))
  const { code, stdout, stderr } = await runForeign(binary, ['--strict', '--port', String(port)])
  const text = stdout.toString()
  const counts = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(text)
  t.comment(counts?.[0] ?? stderr)
  if (code !== 0) t.comment(text)
  t.same(counts?.slice(1).map(Number), [CASES, CASES, 0, 0], counts?.[0] ?? 'no counts')
  t.equal(code, 0)
})
