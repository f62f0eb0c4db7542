// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { mayListen, type Progress, pendingParts } from '../../waypoint/readiness.ts'

const READY: Progress = {
  listening: 2,
  workers: 2,
  hasConfiguration: true,
  hasOwnWorkload: true,
  hasCertificate: true,
}

t.test('a waypoint is ready when nothing is missing, and names what is', async (t) => {
  t.strictSame(pendingParts(READY), [])
  for (const [missing, parts] of [
    [{ listening: null }, ['supervisor']],
    [{ listening: 1 }, ['workers']],
    [{ hasConfiguration: false, hasOwnWorkload: false }, ['configuration']],
    [{ hasOwnWorkload: false }, ['own workload in the configuration']],
    [{ hasCertificate: false }, ['certificate']],
    [{ listening: null, hasCertificate: false }, ['supervisor', 'certificate']],
  ] as const)
    t.strictSame(pendingParts({ ...READY, ...missing }), parts)
})

t.test('nobody is taken who could not be answered', async (t) => {
  t.ok(mayListen({ ...READY, listening: 0 }))
  for (const missing of [{ listening: null }, { hasOwnWorkload: false }, { hasCertificate: false }])
    t.notOk(mayListen({ ...READY, ...missing }))
})
