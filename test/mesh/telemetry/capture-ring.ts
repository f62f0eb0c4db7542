// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { CaptureRing } from '../../../mesh/telemetry/capture-ring.ts'

t.test('what fits comes out as it went in, whatever the lengths; what does not is counted', async () => {
  const operation = fc.oneof(fc.nat(300), fc.constant('drain' as const))
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const writer = new CaptureRing(undefined, 1024)
      const reader = new CaptureRing(writer.memory)
      const [expected, found]: [string[], string[]] = [[], []]
      let [number, dropped] = [0, 0]
      const drain = (): void =>
        reader.drain(({ kind, connection, atMs, offset, payload }) =>
          found.push(JSON.stringify([kind, connection, atMs, offset, payload.toString('hex')])),
        )
      for (const each of operations) {
        if (each === 'drain') drain()
        else {
          const payload = Buffer.alloc(each + 2, number++)
          const frame = {
            kind: 'to-client',
            connection: number,
            atMs: number + 0.5,
            offset: 2 ** 40,
          } as const
          if (!writer.push(frame, payload, 1, each + 1)) dropped++
          else
            expected.push(
              JSON.stringify([
                'to-client',
                number,
                number + 0.5,
                2 ** 40,
                payload.subarray(1, each + 1).toString('hex'),
              ]),
            )
        }
      }
      drain()
      return JSON.stringify(found) === JSON.stringify(expected) && reader.droppedCount === dropped
    }),
  )
})
