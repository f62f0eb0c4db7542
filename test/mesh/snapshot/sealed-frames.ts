// SPDX-License-Identifier: Apache-2.0
// The chain of MACs and the header, without a disk.
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import {
  checkHeader,
  FrameChain,
  HEAD_LENGTH,
  MAC_LENGTH,
  parseHead,
  sealHeader,
} from '../../../mesh/snapshot/sealed-frames.ts'

const KEY = Buffer.alloc(32, 7)
const OWNER = { trustDomain: 'cluster.local', clusterId: 'one', nodeName: 'n1' }

t.test('what was sealed is accepted in its order, by the same key, and in no other order', async (t) => {
  const payloads = fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 2, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(payloads, fc.double({ noNaN: true }), async (all, timeMs) => {
      const writer = new FrameChain(KEY)
      const frames: (readonly Uint8Array[])[] = []
      for (const payload of all) frames.push(await writer.seal('content', timeMs, payload))
      const accepts = async (order: readonly (readonly Uint8Array[])[], key = KEY): Promise<boolean[]> => {
        const reader = new FrameChain(key)
        const answers: boolean[] = []
        for (const [head, payload, mac] of order)
          answers.push(await reader.accept(head ?? KEY, payload ?? KEY, mac ?? KEY))
        return answers
      }
      t.ok((await accepts(frames)).every(Boolean))
      t.notOk((await accepts(frames.slice(1)))[0], 'the first is cut off')
      t.notOk((await accepts([...frames].reverse()))[0])
      t.notOk((await accepts(frames, Buffer.alloc(32, 8)))[0])
    }),
    { numRuns: 50 },
  )
})

t.test('a payload longer than one turn has the same MAC whoever reckons it', async (t) => {
  const payload = Buffer.alloc(3_000_001, 5)
  const [head, same, mac] = await new FrameChain(KEY).seal('content', 1, payload)
  t.equal(head?.length, HEAD_LENGTH)
  t.equal(same, payload, 'it is not copied')
  t.equal(mac?.length, MAC_LENGTH)
  t.ok(await new FrameChain(KEY).accept(head ?? KEY, payload, mac ?? KEY))
  payload[2_999_999] = 6
  t.notOk(await new FrameChain(KEY).accept(head ?? KEY, payload, mac ?? KEY))
})

t.test('a head says what it was made of; one of an unknown kind is none', async (t) => {
  const [head] = await new FrameChain(KEY).seal('confirmation', 1_700_000_000_123, Buffer.alloc(3))
  t.same(parseHead(Buffer.from(head ?? [])), {
    ...{ kind: 'confirmation', payloadLength: 3, timeMs: 1_700_000_000_123 },
  })
  t.equal(parseHead(Buffer.alloc(HEAD_LENGTH)), null, 'zeros')
  t.equal(parseHead(Buffer.alloc(HEAD_LENGTH, 9)), null)
})

t.test('a header of another node, cluster, trust domain or purpose is refused', (t) => {
  t.equal(checkHeader(sealHeader('model', OWNER), 'model', OWNER), undefined)
  const others = [{ nodeName: 'n2' }, { clusterId: 'two' }, { trustDomain: 'other' }]
  for (const other of others) {
    const refused = checkHeader(sealHeader('model', { ...OWNER, ...other }), 'model', OWNER)
    t.ok(isRefusal(refused) && refused.code === 'SNAPSHOT_INVALID', JSON.stringify(other))
  }
  t.ok(isRefusal(checkHeader(sealHeader('pods', OWNER), 'model', OWNER)))
  t.end()
})
