// SPDX-License-Identifier: Apache-2.0
import { openSync } from 'node:fs'
import t from 'tap'
import {
  AcceptShare,
  createAcceptShareMemory,
  retireFromAcceptShare,
} from '../../../mesh/reactor/accept-share.ts'
import { createWakeFd } from '../../../mesh/reactor/worker.ts'

function workers(count: number): {
  readonly shares: AcceptShare[]
  readonly memory: ReturnType<typeof createAcceptShareMemory>
} {
  const memory = createAcceptShareMemory(count)
  const wakeFds = Array.from({ length: count }, createWakeFd)
  return { memory, shares: wakeFds.map((_, index) => new AcceptShare(memory, index, wakeFds)) }
}

t.test('connections that one worker accepts are spread: most and least differ by at most half', async (t) => {
  for (const kind of ['tunnel', 'stream'] as const) {
    const { shares } = workers(3)
    const held = shares.map(() => 0)
    for (let fd = 1000; fd < 1100; fd++) if (shares[0]?.keep(kind, fd, 7)) held[0] = (held[0] ?? 0) + 1
    shares.forEach((share, index) => {
      share.adoptAll((_fd, listener) => {
        t.equal(listener, 7)
        held[index] = (held[index] ?? 0) + 1
      })
    })
    t.equal(
      held.reduce((sum, each) => sum + each),
      100,
      'none is lost',
    )
    t.ok(Math.max(...held) / Math.min(...held) <= 1.5, `${kind}: ${held.join()}`)
  }
})

t.test('a worker that does not take what it is handed gets no more than its ring holds', async (t) => {
  const { shares } = workers(2)
  let kept = 0
  for (let fd = 0; fd < 2000; fd++) if (shares[0]?.keep('tunnel', fd, 1)) kept++
  let adopted = 0
  shares[1]?.adoptAll(() => adopted++)
  t.equal(adopted, 256)
  t.equal(kept, 2000 - 256)
})

t.test('what waits for a dead worker is closed, and it is handed nothing more', async (t) => {
  const { shares, memory } = workers(2)
  const first = openSync('/dev/null', 'r')
  const second = openSync('/dev/null', 'r')
  t.equal(shares[0]?.keep('tunnel', first, 1), true)
  t.equal(shares[0]?.keep('tunnel', second, 1), false)
  retireFromAcceptShare(memory, 1)
  t.equal(openSync('/dev/null', 'r'), second, 'its descriptor is free again')
  t.equal(shares[0]?.keep('tunnel', 5000, 1), true)
})
