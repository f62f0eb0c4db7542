// SPDX-License-Identifier: Apache-2.0
// Enrols and un-enrols the pod whose namespace is descriptor 3, again and again, until it is killed somewhere on the way.
import { readConfig } from '../../ztunnel/config.ts'
import { PodSockets } from '../../ztunnel/supervisor/pod-sockets.ts'

const FLAGS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x']
const { options } = readConfig(FLAGS, {})
const pod = { uid: 'u', name: 'b', namespace: 'shop', serviceAccount: 'b', address: null }
for (let count = 0; ; count++) {
  PodSockets.open({ ...pod, netns: '/proc/self/fd/3' }, options).close()
  if (count === 0) process.stdout.write('enrolled once\n')
}
