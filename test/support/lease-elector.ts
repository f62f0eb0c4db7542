// SPDX-License-Identifier: Apache-2.0
// A process that takes part in an election and says forty times a second what it believes: `fence N` or `fence null`.
// usage: node lease-elector.ts KUBECONFIG TOKEN HOLDER
import { KubeConfig } from '@kubernetes/client-node'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import { LeaseElection } from '../../controller/kubernetes/lease.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'

const SAY_MS = 25

const [kubeconfig = '', token = '', holder = ''] = process.argv.slice(2)
const load = (): KubeConfig => {
  const config = new KubeConfig()
  config.loadFromFile(kubeconfig)
  const cluster = config.getCurrentCluster()
  if (cluster === null) throw new Error('the kubeconfig names no cluster')
  config.loadFromClusterAndUser(cluster, { name: 'token', token })
  return config
}
const election = new LeaseElection({
  ...{
    client: new KubernetesClient(kubeConfigAccess(load), systemClock),
    namespace: 'istio-system',
    name: 'sidestep-controller',
  },
  ...{ holder, clock: systemClock, monotonicMs: () => performance.now(), random: Math.random },
})
election.start(() => undefined)
setInterval(() => process.stdout.write(`fence ${election.fence}\n`), SAY_MS)
