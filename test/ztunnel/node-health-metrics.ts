// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { UNKNOWN_HEALTH } from '../../mesh/generations/node-health.ts'
import { nodeHealthMetrics } from '../../ztunnel/node-health-metrics.ts'

t.test('nothing is shown of what is not configured', async (t) => {
  t.same(nodeHealthMetrics(UNKNOWN_HEALTH), [])
})

t.test('pods that could not be enrolled, by reason; none where all are', async (t) => {
  const notEnrolled = { POD_UNSEEN: 3, MISSING_CAPABILITY: 1 }
  const page = nodeHealthMetrics({ ...UNKNOWN_HEALTH, notEnrolled }).join('')
  t.match(page, /^sidestep_pods_not_enrolled\{reason="POD_UNSEEN"\} 3$/m)
  t.match(page, /^sidestep_pods_not_enrolled\{reason="MISSING_CAPABILITY"\} 1$/m)
  t.notMatch(nodeHealthMetrics({ ...UNKNOWN_HEALTH, notEnrolled: {} }).join(''), /\{/)
})

t.test('the agent: whether it has named all pods, and how its connections ended', async (t) => {
  const failures = { ZDS_PROTOCOL: 2, ZDS_UNAVAILABLE: 7 }
  const page = nodeHealthMetrics({ ...UNKNOWN_HEALTH, agent: { isSynced: true, failures } }).join('')
  t.match(page, /^sidestep_zds_synced 1$/m)
  t.match(page, /^sidestep_zds_failures_total\{reason="ZDS_PROTOCOL"\} 2$/m)
  t.match(page, /^sidestep_zds_failures_total\{reason="ZDS_UNAVAILABLE"\} 7$/m)
  const away = nodeHealthMetrics({ ...UNKNOWN_HEALTH, agent: { isSynced: false, failures: {} } }).join('')
  t.match(away, /^sidestep_zds_synced 0$/m)
})
