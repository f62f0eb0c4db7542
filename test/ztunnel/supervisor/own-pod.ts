// SPDX-License-Identifier: Apache-2.0
// When a ztunnel serves itself; that it does: test/netns/ztunnel-own-listener.ts.
import t from 'tap'
import { readConfig } from '../../../ztunnel/config.ts'
import { ownPod } from '../../../ztunnel/supervisor/own-pod.ts'

const PATHS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x']
const KNOWN = {
  STATUS_PORT: '15021',
  POD_NAME: 'ztunnel-x7',
  POD_NAMESPACE: 'mesh',
  SERVICE_ACCOUNT: 'ztunnel',
  INSTANCE_IP: '10.0.0.9',
}
function podOf(change: Readonly<Record<string, string>>) {
  const named = Object.entries({ ...KNOWN, ...change }).map(([name, value]) => [`SIDESTEP_${name}`, value])
  const { options, mistakes } = readConfig(PATHS, Object.fromEntries(named))
  t.same(mistakes, [])
  return ownPod(options)
}

t.test('one that knows who and where it is serves its status port, and nothing else', async (t) => {
  t.same(podOf({}), {
    ...{ uid: 'sidestep.dev/ztunnel', name: 'ztunnel-x7', namespace: 'mesh', serviceAccount: 'ztunnel' },
    ...{ netns: null, address: '10.0.0.9', onlyPort: 15_021 },
  })
  t.equal(podOf({ INSTANCE_IP: 'fd00::9' })?.address, 'fd00::9')
  t.ok(podOf({ HOST_IP: '10.0.0.1' }))
})

t.test('where anything is missing it does not', async (t) => {
  for (const name of ['POD_NAME', 'POD_NAMESPACE', 'SERVICE_ACCOUNT', 'INSTANCE_IP'])
    t.equal(podOf({ [name]: '' }), null, name)
  t.equal(podOf({ STATUS_PORT: '0' }), null, 'nothing to show')
  t.equal(podOf({ INSTANCE_IP: 'localhost' }), null, 'no address')
  t.equal(podOf({ HOST_IP: '10.0.0.9' }), null, 'on the network of its node')
  t.equal(podOf({ OWN_LISTENER: 'false' }), null, 'not wanted')
})
