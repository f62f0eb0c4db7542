// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { describeInbound } from '../../mesh/model/inbound.ts'
import { identityOf } from '../../mesh/model/workload.ts'
import { unlistedWorkload } from '../../ztunnel/unlisted-workload.ts'
import { meshOf } from '../support/mesh.ts'

const POD = { uid: 'u', name: 'ztunnel-x7', namespace: 'mesh', serviceAccount: 'zt', onlyPort: 15_021 }
const CONFIG = {
  ...{ clusterId: 'c1', instanceIp: '10.0.0.9', network: 'net', nodeName: 'n1', trustDomain: 'corp' },
}

t.test(
  'it has the identity of its service account, and the policies of its namespace and of all',
  async (t) => {
    const own = unlistedWorkload(POD, CONFIG)
    t.equal(identityOf(own), 'spiffe://corp/ns/mesh/sa/zt')
    const policy = (name: string, namespace: string, scope: string): string =>
      `- {name: ${name}, namespace: ${namespace}, scope: ${scope}, action: Deny, dryRun: false, rules: []}\n`
    const mesh = meshOf(
      `workloads: []\nservices: []\npolicies:\n${policy('all', 'root', 'Global')}${policy('here', 'mesh', 'Namespace')}${policy('there', 'shop', 'Namespace')}`,
    )
    const view = describeInbound(mesh, own)
    t.same(view.policies.map(({ name }) => name).toSorted(), ['all', 'here'])
    t.match(view.workload, { clusterId: 'c1', workloadName: 'ztunnel', name: 'ztunnel-x7' })
  },
)
