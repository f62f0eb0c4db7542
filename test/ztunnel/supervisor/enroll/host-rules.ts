// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { AgentPod } from '../../../../ztunnel/supervisor/enroll/decide-enrolment.ts'
import { HostRules } from '../../../../ztunnel/supervisor/enroll/host-rules.ts'

const POD: AgentPod = {
  info: { uid: 'u', name: 'cart', namespace: 'shop', serviceAccount: 'cart' },
  ...{ labels: {}, annotations: {}, isHostNetwork: false, hasEnded: false, ips: ['10.0.0.1'] },
}
const BYPASS = { 'ambient.istio.io/bypass-inbound-capture': 'true' }

function openRules() {
  const calls: string[] = []
  const part = (name: string) => ({
    set: (uid: string, ips: readonly string[]) => calls.push(`${name} ${uid} ${ips}`),
    remove: (uid: string) => calls.push(`${name} -${uid}`),
    sync: () => calls.push(`${name} sync`),
    close: () => calls.push(`${name} close`),
  })
  return { rules: new HostRules(part('probes'), part('guard')), calls }
}

t.test('both hear of a pod; one whose inbound traffic is left alone has no guard', async (t) => {
  const { rules, calls } = openRules()
  rules.set(POD)
  rules.set({ ...POD, annotations: BYPASS })
  t.same(calls, ['probes u 10.0.0.1', 'guard u 10.0.0.1', 'probes u 10.0.0.1', 'guard u '])
})

t.test('the guard goes first, so that nothing is refused that nobody wants refused', async (t) => {
  const { rules, calls } = openRules()
  rules.remove('u')
  rules.sync()
  rules.close()
  t.same(calls, ['guard -u', 'probes -u', 'probes sync', 'guard sync', 'guard close', 'probes close'])
})
