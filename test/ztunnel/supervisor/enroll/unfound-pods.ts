// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { AgentPod } from '../../../../ztunnel/supervisor/enroll/decide-enrolment.ts'
import { UNFOUND_AFTER_MS, UnfoundPods } from '../../../../ztunnel/supervisor/enroll/unfound-pods.ts'

const pod = (uid: string, isRunning: boolean): AgentPod => ({
  info: { uid, name: uid, namespace: 'shop', serviceAccount: 'default' },
  ...{ labels: {}, annotations: {}, isHostNetwork: false, hasEnded: false, isRunning, ips: [] },
})

t.test('a pod that runs and is not found is told once, after a while', async (t) => {
  const pods = new UnfoundPods()
  t.equal(pods.onLook(pod('a', true), 'wanted', false, 1000), null)
  t.equal(pods.onLook(pod('a', true), 'wanted', false, 999 + UNFOUND_AFTER_MS), null)
  t.same([...pods.reasons], [])
  t.match(pods.onLook(pod('a', true), 'wanted', false, 1000 + UNFOUND_AFTER_MS), { code: 'POD_UNSEEN' })
  t.equal(pods.onLook(pod('a', true), 'wanted', false, 1500 + UNFOUND_AFTER_MS), null)
  t.same([...pods.reasons], ['POD_UNSEEN'])
})

t.test('a network that is kept from us is another reason, and news', async (t) => {
  const pods = new UnfoundPods()
  pods.onLook(pod('a', true), 'wanted', false, 0)
  pods.onLook(pod('a', true), 'wanted', false, UNFOUND_AFTER_MS)
  const reason = pods.onLook(pod('a', true), 'wanted', true, UNFOUND_AFTER_MS + 1)
  t.match(reason, { code: 'MISSING_CAPABILITY', detail: /SYS_PTRACE/ })
  t.same([...pods.reasons], ['MISSING_CAPABILITY'])
})

t.test('who does not run yet, is found or is out of the mesh is not waited for', async (t) => {
  const pods = new UnfoundPods()
  for (const [isRunning, state] of [
    [false, 'wanted'],
    [true, 'enrolling'],
    [true, 'failed'],
    [true, 'enrolled'],
    [true, 'leaving'],
    [true, 'out'],
  ] as const) {
    pods.onLook(pod('a', true), 'wanted', false, 0)
    t.equal(pods.onLook(pod('a', isRunning), state, false, UNFOUND_AFTER_MS), null)
    t.equal(
      pods.onLook(pod('a', true), 'wanted', false, UNFOUND_AFTER_MS + 1),
      null,
      `${state}: the wait begins anew`,
    )
    pods.forget('a')
  }
  pods.onLook(pod('a', true), 'wanted', false, 0)
  pods.onLook(pod('a', true), 'wanted', false, UNFOUND_AFTER_MS)
  pods.forget('a')
  t.same([...pods.reasons], [])
})
