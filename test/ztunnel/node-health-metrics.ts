// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { UNKNOWN_HEALTH } from '../../mesh/generations/node-health.ts'
import { nodeHealthMetrics } from '../../ztunnel/node-health-metrics.ts'

t.test('nothing is shown of what is not configured', async (t) => {
  t.notMatch(nodeHealthMetrics(UNKNOWN_HEALTH).join(''), /^sidestep_/m)
})

t.test('pods that could not be enrolled, by reason; none where all are', async (t) => {
  const notEnrolled = { POD_UNSEEN: 3, MISSING_CAPABILITY: 1 }
  const page = nodeHealthMetrics({ ...UNKNOWN_HEALTH, notEnrolled }).join('')
  t.match(page, /^sidestep_pods_not_enrolled\{reason="POD_UNSEEN"\} 3$/m)
  t.match(page, /^sidestep_pods_not_enrolled\{reason="MISSING_CAPABILITY"\} 1$/m)
  t.notMatch(nodeHealthMetrics({ ...UNKNOWN_HEALTH, notEnrolled: {} }).join(''), /\{/)
})

t.test('connection tables: the node’s, and those of pods in trouble', async (t) => {
  const reading = { entryCount: 7, maxEntries: 1000, lostCount: 3 }
  const pod = { namespace: 'shop', pod: 'cart', entryCount: 999, maxEntries: 1000, lostCount: 5 }
  const page = nodeHealthMetrics({ ...UNKNOWN_HEALTH, conntrack: reading, podConntrack: [pod] }).join('')
  t.match(page, /^sidestep_conntrack_entries 7$/m)
  t.match(page, /^sidestep_conntrack_max_entries 1000$/m)
  t.match(page, /^sidestep_conntrack_lost_total 3$/m)
  t.match(page, /^sidestep_pod_conntrack_entries\{namespace="shop",pod="cart"\} 999$/m)
  t.match(page, /^sidestep_pod_conntrack_lost_total\{namespace="shop",pod="cart"\} 5$/m)
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
