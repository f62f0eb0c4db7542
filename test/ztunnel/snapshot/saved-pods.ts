// SPDX-License-Identifier: Apache-2.0
// The list of pods that a later supervisor finds.
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { type PodList, SavedPods } from '../../../ztunnel/snapshot/saved-pods.ts'

const LIST: PodList = {
  pods: [
    {
      ...{ info: { uid: 'u', name: 'front', namespace: 'shop', serviceAccount: 'front' }, ips: ['10.1.0.1'] },
      ...{ labels: { app: 'front' }, annotations: {}, isHostNetwork: false, hasEnded: false },
    },
  ],
  namespaces: { shop: { 'sidestep.dev/mode': 'ambient' } },
}

t.test('a later run finds the last list whole, and only its own node’s', async (t) => {
  const path = join(t.testdir(), 'pods.sealed')
  const open = (nodeName: string): SavedPods => {
    const owner = { trustDomain: 'd', clusterId: 'c', nodeName }
    const place = async () => ({ path, key: Buffer.alloc(32, 1), purpose: 'pods' as const, owner })
    return new SavedPods({ place, clock: systemClock, log: pino({ level: 'silent' }) })
  }
  const first = open('n1')
  t.equal(await first.load(), null)
  first.changed(() => ({ pods: [], namespaces: {} }))
  first.changed(() => LIST)
  await first.close()
  t.same(await open('n1').load(), LIST)
  t.equal(await open('n2').load(), null)
})
