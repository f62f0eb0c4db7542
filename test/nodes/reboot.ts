import { join } from 'node:path'
import t from 'tap'
import { Cluster } from '../support/cluster.ts'
import { ROOT } from '../support/documents.ts'
import { keepEvidence } from '../support/lab-evidence.ts'
import { Shop } from '../support/shop.ts'
import { standReboot } from '../support/shop-damage.ts'
import { OUTSIDERS, SHOP, shopObjects } from '../support/shop-objects.ts'

const SYSTEM = 'istio-system'
const LABEL = 'sidestep.dev/mode'
const NODES = ['node1', 'node2']
const STORY_MS = 400_000

t.setTimeout(STORY_MS)
const cluster = await Cluster.open({ nodes: NODES })
t.teardown(() => cluster.close())
const shop = new Shop(cluster)
t.teardown(() => shop.close())
t.afterEach((step) => {
  if (!step.passing()) t.comment(`everything is kept in ${keepEvidence(cluster, NODES, step.name)}`)
})
const kubectl = (...args: readonly string[]): Promise<string> => cluster.kubectl(...args)

t.test('before: a shop that is in the mesh from its first pod on', async (t) => {
  await cluster.loadSidestep()
  await kubectl('apply', '-f', join(ROOT, 'daemonset.yaml'))
  await cluster.apply(shopObjects())
  await kubectl('label', 'namespace', SHOP, `${LABEL}=ambient`)
  await kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=60s')
  await kubectl('-n', SYSTEM, 'rollout', 'status', 'daemonset/ztunnel', '--timeout=60s')
  await shop.ready()
  await shop.untilRedirection('enabled')
  for (const caller of ['front', ...OUTSIDERS]) await shop.listenTo(caller)
  await shop.goesOn(shop.mark())
  t.equal((await shop.members()).length, 7)
})

t.test('a node loses its power and starts again', (t) => standReboot(t, { cluster, shop, nodes: NODES }))

t.test('without the label it is as before, and no request fails', async (t) => {
  const before = shop.mark()
  await kubectl('label', 'namespace', SHOP, `${LABEL}-`)
  await shop.untilRedirection('')
  t.same(await shop.goesOn(before), [])
})

t.test('the mesh is removed, and no request fails', async (t) => {
  const before = shop.mark()
  await kubectl('-n', SYSTEM, 'delete', 'daemonset', 'ztunnel', '--cascade=foreground')
  await kubectl('-n', SYSTEM, 'delete', 'deployment', 'sidestep-controller', '--cascade=foreground')
  await kubectl('delete', '--ignore-not-found', '-f', join(ROOT, 'daemonset.yaml'))
  t.same(await shop.goesOn(before), [])
})
