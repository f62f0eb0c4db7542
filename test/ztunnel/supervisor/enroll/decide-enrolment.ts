// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  decidePod,
  readAgentPod,
  toldRedirection,
  uidOnNode,
} from '../../../../ztunnel/supervisor/enroll/decide-enrolment.ts'

const UID = '0f4a2c1e-9d3b-4e55-8a77-1c2d3e4f5a6b'
const AMBIENT = { 'sidestep.dev/mode': 'ambient' }

interface Parts {
  readonly metadata?: object
  readonly spec?: object
  readonly status?: object
}
const value = ({ metadata, spec, status }: Parts = {}) => ({
  metadata: { uid: UID, name: 'cart-1', namespace: 'shop', ...metadata },
  spec: { nodeName: 'n1', serviceAccountName: 'cart', ...spec },
  status: { phase: 'Running', podIP: '10.0.0.1', ...status },
})

t.test('what the agent needs of a pod', async (t) => {
  const annotations = { 'ambient.istio.io/redirection': 'enabled', 'a.example/large': 'x'.repeat(1_000) }
  const podIPs = [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }, {}, 7]
  t.same(readAgentPod(value({ metadata: { annotations, labels: AMBIENT }, status: { podIPs } })), {
    info: { uid: UID, name: 'cart-1', namespace: 'shop', serviceAccount: 'cart' },
    labels: AMBIENT,
    annotations: { 'ambient.istio.io/redirection': 'enabled' },
    isHostNetwork: false,
    hasEnded: false,
    isRunning: true,
    ips: ['10.0.0.1', 'fd00::1'],
  })
  const plain = readAgentPod(value({ spec: { serviceAccountName: '', hostNetwork: true } }))
  t.equal(plain?.info.serviceAccount, 'default')
  t.equal(plain?.isHostNetwork, true)
  t.equal(plain && toldRedirection(plain), null)
})

t.test('a pod that its node reads from a file has another uid there', async (t) => {
  const uidOf = (mirror: unknown): string | null => {
    const annotations = { 'kubernetes.io/config.mirror': mirror, 'kubernetes.io/config.source': 'file' }
    const pod = readAgentPod(value({ metadata: { annotations } }))
    return pod && uidOnNode(pod)
  }
  t.equal(uidOf('0123456789abcdef'.repeat(2)), '0123456789abcdef'.repeat(2))
  for (const other of [undefined, '', 7, UID, UID.replace('0', 'f'), 'ABCDEF0123456789'.repeat(2)])
    t.equal(uidOf(other), UID, `${other}`)
})

t.test('what is no pod is none; names end in paths of the apiserver', async (t) => {
  for (const metadata of [
    { uid: '' },
    { uid: 7 },
    { uid: 'x'.repeat(36) },
    { name: '' },
    { name: '../secrets' },
    { name: 'x'.repeat(254) },
    { namespace: 'a/b' },
    { namespace: undefined },
  ])
    t.equal(readAgentPod(value({ metadata })), null, JSON.stringify(metadata))
  t.equal(readAgentPod(value({ spec: { serviceAccountName: 'a?b' } })), null)
  fc.assert(fc.property(fc.anything(), (anything) => readAgentPod(anything) === null))
})

t.test('who belongs to the mesh, who does not, and who needs not be asked', async (t) => {
  const goalOf = (parts: Parts, namespace?: Record<string, string>): string => {
    const pod = readAgentPod(value(parts))
    if (pod === null) throw new Error('no pod')
    return decidePod(pod, namespace).goal
  }
  t.equal(goalOf({}, AMBIENT), 'in')
  t.equal(goalOf({}, {}), 'out')
  t.equal(goalOf({}), 'out', 'its namespace is unknown')
  t.equal(goalOf({ metadata: { labels: AMBIENT } }), 'in')
  t.equal(goalOf({ metadata: { labels: { 'istio.io/dataplane-mode': 'none' } } }, AMBIENT), 'out')
  t.equal(goalOf({ spec: { hostNetwork: true } }, AMBIENT), 'out')
  t.equal(goalOf({ metadata: { annotations: { 'sidecar.istio.io/status': '{}' } } }, AMBIENT), 'out')
  t.equal(goalOf({ status: { phase: 'Pending' } }, AMBIENT), 'in', 'init containers have traffic too')
  const deletionTimestamp = '2026-01-01T00:00:00Z'
  t.equal(goalOf({ metadata: { deletionTimestamp } }, AMBIENT), 'in', 'it may still have to finish')
  for (const phase of ['Succeeded', 'Failed']) t.equal(goalOf({ status: { phase } }, AMBIENT), 'hopeless')
})
