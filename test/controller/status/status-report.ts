// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { desiredStatus } from '../../../controller/status/desired-status.ts'
import { MAX_TOLD_FAILURES, StatusReport } from '../../../controller/status/status-report.ts'
import { refKey } from '../../../controller/watch/config-object.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { policiesYaml } from '../../support/status-policies.ts'
import { StatusWorld } from '../../support/status-view.ts'
import { SETTINGS } from '../../support/translated.ts'

interface Read {
  readonly pending: number
  readonly failures: readonly object[]
  readonly recent: readonly object[]
  readonly wanted: readonly object[]
}

t.test('it tells what is wanted, what was written, and what failed until it does not', async (t) => {
  const patches = desiredStatus(new StatusWorld(policiesYaml(MAX_TOLD_FAILURES + 1)), SETTINGS)
  const keys = new Set(patches.map(({ object }) => refKey(object)))
  const report = new StatusReport()
  const read = (): Read => report.read() as Read // as: what it gives
  report.planned(patches, keys)
  const failure = new MeshError('STATUS_REFUSED', { detail: 'no' })
  const all = patches.map((patch) => ({ key: '', patch, seenVersion: '' }))
  for (const planned of all) report.failed(planned, failure, 7, 300_000)
  t.equal(read().failures.length, MAX_TOLD_FAILURES, 'bounded')
  t.match(read(), {
    pending: patches.length,
    counts: { failed: patches.length, written: 0 },
    failures: { 0: { object: /p0/, reason: 'STATUS_REFUSED', detail: /no/, atMs: 7, retryMs: 300_000 } },
  })
  for (const planned of all.slice(0, 50)) report.ended(planned, 'written', 8)
  t.equal(read().failures.length, MAX_TOLD_FAILURES - 50, 'those that were written have not failed')
  t.equal(read().recent.length, 20)
  report.planned(patches, new Set())
  t.same(read().failures, [], 'somebody else has mended it')
  t.match(read().wanted[0], { object: /p0/, generation: 1, conditions: { 0: { reason: 'Exact' } } })
})
