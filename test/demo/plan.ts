// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { manifests } from '../../demo/manifests.ts'
import { CART_VIP, DENY_POLICY, enrolmentFile, planDemo, podOf, SERVICE_PORT } from '../../demo/plan.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { policyKey } from '../../mesh/model/policy.ts'
import { parseEnrolment } from '../../ztunnel/supervisor/enrolment-file.ts'
import { meshConfigOf } from '../support/mesh-config.ts'

for (const mode of ['netns', 'loopback'] as const) {
  t.test(`the files of ${mode} mode are what controller and ztunnels read`, async (t) => {
    const plan = planDemo(mode, '88.7')
    const config = meshConfigOf(Object.values(manifests(plan)).join('---\n'))
    t.strictSame(
      config.workloads.map(({ name, node, workloadIps, protocol }) => [name, node, workloadIps, protocol]),
      plan.pods
        .map(({ name, node, ip, isEnrolled }) => [name, node, [ip], isEnrolled ? 'HBONE' : 'TCP'])
        .toSorted(),
    )
    t.strictSame(
      config.services.map(({ vips, ports }) => [vips, ports]),
      [[[{ network: '', ip: CART_VIP }], { 80: SERVICE_PORT }]],
    )
    t.strictSame(
      config.workloads.filter(({ services }) => Object.keys(services).length > 0).map(({ name }) => name),
      ['cart'],
    )
    t.strictSame(config.policies.map(policyKey), [DENY_POLICY])
    const enrolled = plan.nodes.flatMap((node) => {
      const pods = parseEnrolment(
        enrolmentFile(plan, node, ({ name }) => `/proc/1/fd/${name}`),
        'enrolment.yaml',
      )
      if (isRefusal(pods)) throw new Error(pods.detail)
      return pods.map((pod) => [node, pod.name, pod.netns ?? pod.address])
    })
    const place = (name: 'front' | 'batch' | 'cart'): string =>
      mode === 'netns' ? `/proc/1/fd/${name}` : podOf(plan, name).ip
    t.strictSame(enrolled, [
      ['node1', 'front', place('front')],
      ['node1', 'batch', place('batch')],
      ['node2', 'cart', place('cart')],
    ])
  })
}

t.test(
  'loopback mode lives on loopback addresses and leaves out the pod nobody could tell apart',
  async (t) => {
    const plan = planDemo('loopback', '88.7')
    t.strictSame(
      [plan.controllerIp, ...plan.pods.map(({ ip }) => ip)],
      ['127.88.7.1', '127.88.7.11', '127.88.7.12', '127.88.7.21'],
    )
    t.throws(() => podOf(plan, 'legacy'), { message: 'the demo has no pod legacy' })
  },
)
