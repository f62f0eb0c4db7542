// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { sealedPlace } from '../../../mesh/snapshot/sealed-place.ts'
import { readConfig } from '../../../ztunnel/config.ts'

t.test('a place names node, cluster and trust domain', async (t) => {
  const { options } = readConfig([], {
    ...{ SIDESTEP_STATE_DIRECTORY: t.testdir(), SIDESTEP_NODE_NAME: 'n1' },
    ...{ SIDESTEP_CLUSTER_ID: 'one', SIDESTEP_TRUST_DOMAIN: 'example.org' },
  })
  t.match(await sealedPlace(options, 'pods')(), {
    ...{ purpose: 'pods', path: /pods\.sealed$/ },
    owner: { nodeName: 'n1', clusterId: 'one', trustDomain: 'example.org' },
  })
})
