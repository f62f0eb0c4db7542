// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { CloseReason } from '../../../mesh/reactor/byte-stream.ts'
import { sheddableHalf } from '../../../ztunnel/carry/sheddable-half.ts'

t.test(
  'only a connection that is half closed and still gives way, with the reason of the node',
  async (t) => {
    const reasons: CloseReason[] = []
    const connection = { abort: (reason: CloseReason) => void reasons.push(reason) }
    t.equal(sheddableHalf(connection, null), null, 'not connected yet')
    t.equal(sheddableHalf(connection, { halfClosedStallMs: 0 }), null, 'in use')
    const half = sheddableHalf(connection, { halfClosedStallMs: 7 })
    t.match(half, { kind: 'half-closed', stalledMs: 7 })
    half?.end()
    t.same(
      reasons.map(({ code }) => code),
      ['LIMIT_NODE'],
    )
  },
)
