// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { CONTROLLER_OPTIONS, readConfig } from '../../controller/config.ts'
import { environmentName, flagName } from '../../mesh/runtime/options.ts'

t.test('a directory is needed, everything else has a default that works', async (t) => {
  const { options, mistakes } = readConfig(['--config-directory', 'd'], {})
  t.same(mistakes, [])
  t.match(options, {
    ...{ configDirectory: 'd', listenHost: '::', listenPort: 15_012, trustDomain: 'cluster.local' },
    ...{ rootNamespace: 'istio-system', clusterId: 'Kubernetes', autoAddressRange: '240.240.0.0/16' },
  })
  t.ok(options.serverNames.split(',').includes('istiod.istio-system.svc'), 'what Istio’s ztunnel dials')
  t.match(readConfig([], {}).mistakes, [/^SIDESTEP_CONFIG_DIRECTORY/])
})

t.test('every option says what it means, and no two have one name', async (t) => {
  const names = Object.keys(CONTROLLER_OPTIONS).flatMap((key) => [flagName(key), environmentName(key)])
  t.equal(new Set(names).size, names.length)
  for (const { meaning } of Object.values(CONTROLLER_OPTIONS)) t.ok(meaning.length > 10)
})
