// SPDX-License-Identifier: Apache-2.0
// The roots of the controllers on a real apiserver, published by a controller with the rights of rbac.yaml: where ztunnels
// and waypoints mount them, and gone with the Gateways.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'
import { ControllerReplica } from '../support/controller-replica.ts'
import { poll } from '../support/mesh-lab.ts'
import { requestUnix } from '../support/unix-http.ts'

const RBAC = fileURLToPath(new URL('../../controller/rbac.yaml', import.meta.url))
const SYSTEM = 'istio-system'
const NAME = 'istio-ca-root-cert'

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open()
t.teardown(() => cluster.close())
const directory = mkdtempSync(join(tmpdir(), 'roots-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
await cluster.apply(await readFile(RBAC, 'utf8'))
const kubeconfigFile = join(directory, 'kubeconfig')
const token = await cluster.kubectl('-n', SYSTEM, 'create', 'token', 'sidestep-controller')
writeFileSync(kubeconfigFile, cluster.loadWithToken(token.trim()).exportConfig(), { mode: 0o600 })

/** The roots in a namespace; null when there are none. */
async function rootsIn(namespace: string): Promise<string | null> {
  const found = await cluster
    .kubectl('-n', namespace, 'get', 'configmap', NAME, '-o', 'jsonpath={.data.root-cert\\.pem}')
    .catch(() => null)
  return found
}

async function createGateway(namespace: string): Promise<void> {
  await cluster.apply(
    JSON.stringify({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name: 'l7', namespace },
      spec: {
        gatewayClassName: 'sidestep-waypoint',
        listeners: [{ name: 'mesh', port: 15_008, protocol: 'HBONE' }],
      },
    }),
  )
}

const [shop, bank] = [await cluster.createNamespace('shop'), await cluster.createNamespace('bank')]
await cluster.kubectl('-n', bank, 'create', 'configmap', NAME, '--from-literal=root-cert.pem=of another mesh')
const replica = new ControllerReplica(['--config-source', 'kubernetes', '--kubeconfig-file', kubeconfigFile])
t.teardown(() => replica.close())
await replica.start()
await replica.ready()

t.test('what verifies the controller is in its own namespace', async (t) => {
  const roots = await poll('the roots', () => rootsIn(SYSTEM))
  t.match(roots, /^-----BEGIN CERTIFICATE-----/)
  t.equal(roots, (await requestUnix(replica.socket, 'GET', '/ca/server-roots')).body)
  t.equal(await rootsIn(shop), null, 'and nowhere else')
})

t.test('it comes to a waypoint and goes with it; what another wrote stays', async (t) => {
  await Promise.all([createGateway(shop), createGateway(bank)])
  t.equal(await poll('the roots beside the waypoint', () => rootsIn(shop)), await rootsIn(SYSTEM))
  await poll('the refusal', async () => (replica.log.includes('those of another controller') ? true : null))
  t.equal(await rootsIn(bank), 'of another mesh')
  await cluster.kubectl('-n', shop, 'delete', 'gateway', 'l7')
  await poll('they are gone', async () => ((await rootsIn(shop)) === null ? true : null))
})
