// SPDX-License-Identifier: Apache-2.0
// What is opened where, without an apiserver; test/cluster/controller.ts runs it on one.
import { join } from 'node:path'
import t from 'tap'
import { readConfig } from '../../../controller/config.ts'
import { openKubernetes, waypointOptions } from '../../../controller/kubernetes/sources.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const KUBECONFIG = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Config',
  clusters: [{ name: 'c', cluster: { server: 'http://127.0.0.1:1' } }],
  users: [{ name: 'u', user: {} }],
  contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
  'current-context': 'x',
})

function open(directory: string, ...args: readonly string[]) {
  const file = join(directory, 'kubeconfig')
  const { options, mistakes } = readConfig(
    ['--config-source', 'kubernetes', '--kubeconfig-file', file, ...args],
    {},
  )
  if (mistakes.length > 0) throw new Error(mistakes.join('\n'))
  return openKubernetes(options, new ManualClock())
}

t.test('nothing is asked before it is started; then an apiserver that is away is told as such', async (t) => {
  const sources = open(t.testdir({ kubeconfig: KUBECONFIG }))
  t.equal(sources.source.name, 'kubernetes')
  t.equal(sources.election.fence, null)
  t.equal(sources.objects, null, 'kubectl changes the configuration')
  await t.rejects(sources.keys.read('authority'), { code: 'APISERVER_UNAVAILABLE' })
  await t.rejects(sources.joinTokens.list(), { code: 'APISERVER_UNAVAILABLE' })
  await sources.close()
})

t.test('a directory for the CA is used instead of the Secret', async (t) => {
  const directory = t.testdir({ kubeconfig: KUBECONFIG, ca: {} })
  const { keys } = open(directory, '--ca-directory', join(directory, 'ca'))
  t.equal(await keys.read('authority'), null)
  t.equal(await keys.write('authority', 'text', null), true)
})

t.test('a kubeconfig that is not there ends the start', async (t) => {
  t.throws(() => open(t.testdir({})), /ENOENT/)
})

t.test('waypoints are told what differs from what they have for themselves', async (t) => {
  const told = (...args: readonly string[]) =>
    waypointOptions(readConfig(['--config-source', 'kubernetes', ...args], {}).options)
  t.ok(Object.values(told()).every((value) => value === ''))
  t.match(told('--waypoint-body-timeout-seconds', '20'), { SIDESTEP_BODY_TIMEOUT_SECONDS: '20' })
  t.match(told('--waypoint-body-timeout-seconds', '0'), { SIDESTEP_BODY_TIMEOUT_SECONDS: '0' })
})
