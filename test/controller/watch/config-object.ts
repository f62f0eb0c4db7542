// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  type ConfigObject,
  groupOf,
  kindKey,
  refKey,
  refOf,
} from '../../../controller/watch/config-object.ts'

t.test('an object is named by group, kind, namespace and name, whatever its version', async (t) => {
  const metadata = { name: 'db', namespace: 'shop' }
  for (const version of ['v1', 'v1beta1']) {
    const apiVersion = `networking.istio.io/${version}`
    // as: only what names it
    const ref = refOf({ apiVersion, kind: 'ServiceEntry', metadata } as ConfigObject)
    t.equal(refKey(ref), 'networking.istio.io/ServiceEntry/shop/db')
    t.equal(kindKey(ref.group, ref.kind), 'ServiceEntry.networking.istio.io')
  }
  t.equal(groupOf('v1'), '')
  t.equal(kindKey('', 'Pod'), 'Pod')
})
