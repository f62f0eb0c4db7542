// SPDX-License-Identifier: Apache-2.0
// Golden files: every status of test/fixtures/status/*.yaml. After a wanted change run this file with --update, and
// read the difference.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Publisher } from '../../../controller/publish/publisher.ts'
import { desiredStatus } from '../../../controller/status/desired-status.ts'
import { mergeStatus } from '../../../controller/status/merge-status.ts'
import type { StatusPatch } from '../../../controller/status/status-patch.ts'
import { refKey } from '../../../controller/watch/config-object.ts'
import { StatusWorld } from '../../support/status-view.ts'
import { SETTINGS } from '../../support/translated.ts'

const directory = join(import.meta.dirname, '..', '..', 'fixtures', 'status')
const YAML = readFileSync(join(directory, 'mesh.yaml'), 'utf8')
const NOW_MS = Date.UTC(2026, 5, 1)

const desired = (world: StatusWorld): StatusPatch[] => desiredStatus(world, SETTINGS)
const textOf = (each: { status: string; reason: string; type: string; message: string }): string =>
  `${each.type}=${each.status} ${each.reason}: ${each.message}`

function render(patches: readonly StatusPatch[]): string {
  const entries = patches.map(({ object, conditions, gateway, parents }) => [
    refKey(object),
    {
      conditions: conditions.map(textOf),
      ...(parents !== null && {
        parents: parents.map(({ parentRef, conditions: own }) => [parentRef, ...own.map(textOf)]),
      }),
      ...(gateway !== null && {
        addresses: gateway.addresses?.map(({ type, value }) => `${type} ${value}`) ?? 'as they are',
        listeners: Object.fromEntries(
          gateway.listeners.map(({ name, conditions: own }) => [name, own.map(textOf)]),
        ),
      }),
    },
  ])
  return `${JSON.stringify(Object.fromEntries(entries), null, 1)}\n`
}

t.test('every object of ours is told what stands in the golden file, and no other', async (t) => {
  for (const name of ['mesh', 'routes']) {
    const rendered = render(desired(new StatusWorld(readFileSync(join(directory, `${name}.yaml`), 'utf8'))))
    const golden = join(directory, `${name}.json`)
    if (process.argv.includes('--update')) writeFileSync(golden, rendered)
    t.equal(rendered, readFileSync(golden, 'utf8'), name)
    t.notMatch(rendered, /of-istio|Gateway\/shop\/of-another-name|going|GatewayClass\/\/istio/)
  }
})

t.test('written once, everything is as it should be, and nobody is told anything new', async (t) => {
  const world = new StatusWorld(YAML)
  const publisher = new Publisher()
  // The addresses of Gateways are read by the translation: they settle after one round.
  for (let round = 0; round < 2; round++) world.writeAll(desired(world), NOW_MS)
  t.equal(publisher.publish(world.translation), true)
  const before = world.translation
  const patches = desired(world)
  for (const patch of patches)
    t.equal(
      mergeStatus(world.object(patch).status, patch, NOW_MS + 9999).change,
      'none',
      refKey(patch.object),
    )
  world.change(...patches.map((patch) => world.object(patch)))
  t.not(world.translation, before, 'new resourceVersions are translated again')
  t.equal(publisher.publish(world.translation), false, 'and nothing is published')
  t.same(desired(world), patches, 'and nothing else is wanted')
})

t.test('a class of another controller, or none, leaves Gateways alone', async (t) => {
  const gatewaysOf = (yaml: string): number =>
    desired(new StatusWorld(yaml)).filter(({ object }) => object.kind === 'Gateway').length
  t.ok(gatewaysOf(YAML) > 5)
  t.equal(gatewaysOf(YAML.replaceAll('sidestep.dev/waypoint-controller', 'example.com/other')), 0)
  t.equal(gatewaysOf(YAML.replace('name: sidestep-waypoint}', 'name: gone}')), 0)
})

t.test('of an object that broke it is said which version is in force, and why', async (t) => {
  const world = new StatusWorld(YAML)
  const find = (): StatusPatch | undefined => desired(world).find(({ object }) => object.name === 'exact')
  const before = find()
  if (before === undefined) throw new Error('no policy')
  world.change({ ...world.object(before), unread: { generation: 2, why: 'no such field at spec.acton' } })
  t.same(find()?.generation, 1)
  t.equal(
    find()?.conditions[0]?.message,
    `generation 2 cannot be read (no such field at spec.acton), 1 is in force; ${before.conditions[0]?.message}`,
  )
})

t.test('a policy is spoken about as it was translated, not as it is by now', async (t) => {
  const world = new StatusWorld(YAML)
  const [policy] = desired(world).filter(({ object }) => object.name === 'exact')
  if (policy === undefined) throw new Error('no policy')
  const object = world.object(policy)
  const newer = { ...object, metadata: { ...object.metadata, generation: 7 } }
  const view = { list: world.objects.list, get: () => newer }
  const [late] = desiredStatus({ objects: view, translation: world.translation }, SETTINGS).filter(
    (each) => each.object.name === 'exact',
  )
  t.equal(late?.generation, 1)
})
