// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { policyCondition } from '../../../controller/status/policy-status.ts'
import { MAX_STATUS_MESSAGE } from '../../../controller/status/status-patch.ts'
import type { ConfigFinding, PolicyEnforcement } from '../../../controller/translate/translation.ts'

const object = { group: 'security.istio.io', kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' }

function enforcement(extra: Partial<PolicyEnforcement> = {}): PolicyEnforcement {
  const message = 'enforced by ztunnels'
  return {
    object,
    generation: 1,
    kind: 'exact',
    message,
    caveat: null,
    selects: null,
    waypoints: [],
    ...extra,
  }
}

function finding(code: string, message: string, path = ''): ConfigFinding {
  return { code, severity: 'error', object, origin: null, path, message, fix: 'mend it' }
}

t.test('the reason follows from kind and caveat', async (t) => {
  const cases = [
    ['exact', null, 'True', 'Exact'],
    ['exact', 'dry-run', 'False', 'DryRun'],
    ['refused', null, 'False', 'RefusedNeedsL7'],
    ['refused', 'unreadable', 'False', 'RefusedInvalid'],
    ['refused', 'dry-run', 'False', 'DryRun'],
    ['nowhere', null, 'False', 'Nowhere'],
  ] as const
  for (const [kind, caveat, status, reason] of cases)
    t.match(policyCondition(enforcement({ kind, caveat }), null, []), { status, reason })
})

t.test('it counts what it reaches, and what it does not', async (t) => {
  const textOf = (workloads: number, nodes: number, outside: number): string =>
    policyCondition(enforcement(), { workloads, nodes, outside }, []).message
  t.equal(textOf(0, 0, 0), 'enforced by ztunnels (no workload)')
  t.equal(textOf(1, 1, 0), 'enforced by ztunnels (1 workload on 1 node)')
  t.equal(
    textOf(3, 2, 1),
    'enforced by ztunnels (3 workloads on 2 nodes; 1 more outside the mesh, where nothing is enforced)',
  )
})

t.test(
  'many waypoints and many findings are told in part, and never more than a message holds',
  async (t) => {
    const waypoints = Array.from({ length: 7 }, (_, index) => `shop/w${index}`)
    const by = policyCondition(enforcement({ message: 'enforced by waypoints', waypoints }), null, [])
    t.equal(by.message, 'enforced by waypoints: shop/w0, shop/w1, shop/w2, shop/w3, shop/w4 and 2 more')
    const findings = Array.from({ length: 20 }, (_, index) =>
      finding(`CODE_${index}`, 'x', `spec.a[${index}]`),
    )
    const { message } = policyCondition(enforcement(), null, findings)
    t.match(message, /CODE_2 at spec\.a\[2\]: x \(mend it\); and 17 more findings$/)
    t.notMatch(message, /CODE_3/)
    const long = policyCondition(enforcement(), null, [finding('A', 'x'.repeat(5000))])
    t.equal(long.message.length, MAX_STATUS_MESSAGE)
  },
)

t.test('what a finding says already is not said twice', async (t) => {
  const { message } = policyCondition(enforcement({ kind: 'nowhere', message: 'no target' }), null, [
    finding('PEER_NOT_APPLIED', 'it has no effect: no target'),
  ])
  t.equal(message, 'PEER_NOT_APPLIED: it has no effect: no target (mend it)')
})
