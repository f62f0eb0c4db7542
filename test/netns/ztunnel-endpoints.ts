// SPDX-License-Identifier: Apache-2.0
// Which endpoint of a service takes a connection, through a real node and counted at real endpoints: weights, health and
// its policies, places near and far, strictly or as long as there are any, and nearer ones that are dead.
import { createServer, type Server } from 'node:net'
import t, { type Test } from 'tap'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { openListener } from '../../mesh/reactor/tcp-listener.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const VIP = '10.96.0.20'
const PORT = 9300
const HOST = 'spread.shop.svc.cluster.local'
/** Two plain ones beside the caller, one behind a tunnel on the other node. */
const IPS = { near: '10.1.0.21', middle: '10.1.0.22', cart: '10.2.0.1' } as const
type Name = keyof typeof IPS
const NAMES = Object.keys(IPS) as Name[] // as: its keys
const CALLS = 320
const WIDTH = 20

/** What a test says of an endpoint; the caller is in region r, zone z, subzone s, on n1. */
interface Place {
  readonly region: string
  readonly zone: string
  readonly subzone: string
  readonly node: string
  readonly capacity: number
  readonly status: 'Healthy' | 'Unhealthy'
}
interface Balancer {
  readonly mode: 'Standard' | 'Strict' | 'Failover'
  readonly routingPreferences: readonly string[]
  readonly healthPolicy: 'OnlyHealthy' | 'AllowAll'
}
type Places = Readonly<Partial<Record<Name, Partial<Place>>>>

const HERE: Place = { region: 'r', zone: 'z', subzone: 's', node: 'n1', capacity: 1, status: 'Healthy' }
/** Three distances. */
const SPREAD: Places = { near: {}, middle: { zone: 'other' }, cart: { region: 'other', node: 'n2' } }

/** The lab's mesh with one service more, whose endpoints are `places`. */
function mesh(places: Places, balancer: Balancer | null): string {
  const memberships = `{"shop/${HOST}": {80: ${PORT}}}`
  const endpoint = (name: Name): string => {
    const { region, zone, subzone, node, capacity, status } = { ...HERE, ...places[name] }
    const isTunnel = name === 'cart'
    return (
      `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, trustDomain: cluster.local, ` +
      `workloadIps: ["${IPS[name]}"], protocol: ${isTunnel ? 'HBONE' : 'TCP'}, node: ${node}, status: ${status}, ` +
      `capacity: ${capacity}, locality: {region: ${region}, zone: ${zone}, subzone: ${subzone}}, services: ${memberships}}\n`
    )
  }
  const how = balancer === null ? '' : `, loadBalancer: ${JSON.stringify(balancer)}`
  const service = `- {name: spread, namespace: shop, hostname: ${HOST}, vips: ["/${VIP}"], ports: {80: ${PORT}}${how}}\n`
  return labMesh([])
    .replace(
      /^(- \{uid: front.*)services: \{\}\}$/m,
      '$1locality: {region: r, zone: z, subzone: s}, services: {}}',
    )
    .replace(/^- \{uid: cart.*\n/m, '')
    .replace(/services:\n- \{name: cart.*\n/, `${NAMES.map(endpoint).join('')}services:\n${service}`)
}

class World {
  readonly lab: MeshLab
  readonly #servers = new Map<Name, Server>()
  #configured = 0

  constructor(lab: MeshLab) {
    this.lab = lab
  }

  #namespaceOf(name: Name): NetworkNamespace {
    return this.lab.network.pod(name).namespace
  }

  /** The endpoint says who it is. */
  serve(name: Name): void {
    const fd = this.#namespaceOf(name).run(() => openListener('0.0.0.0', PORT))
    const server = createServer((socket) => socket.on('error', () => {}).end(name)).listen({ fd })
    this.#servers.set(name, server)
  }

  async stop(name: Name): Promise<void> {
    const server = this.#servers.get(name)
    this.#servers.delete(name)
    await new Promise((resolve) => server?.close(resolve) ?? resolve(null))
  }

  async close(): Promise<void> {
    for (const name of NAMES) if (this.#servers.has(name)) await this.stop(name)
  }

  /** In force on both nodes when this resolves. Each configuration has a number of its own. */
  async configure(places: Places, balancer: Balancer | null): Promise<void> {
    const mark = `v${++this.#configured}`
    const text = mesh(places, balancer).replace(
      'services:\n- ',
      `services:\n- {name: ${mark}, namespace: shop, hostname: ${mark}.shop.svc.cluster.local, vips: [], ports: {}}\n- `,
    )
    await this.lab.configure(text)
    for (const node of ['n1', 'n2'] as const)
      await poll(`${mark} at ${node}`, async () => {
        const { text: dump } = await this.lab.admin(node, '/config_dump')
        return dump.includes(`${mark}.shop.svc.cluster.local`) || null
      })
  }

  /** Waits for the record of a call that nobody could take. */
  async refusal(detail: RegExp): Promise<void> {
    await poll(`a record of ${detail}`, async () => {
      const found = (await this.lab.records('n1')).filter(({ reason }) => reason === 'NO_ENDPOINT')
      return found.some((each) => detail.test(String(each.detail))) || null
    })
  }

  /** Calls the service; who answered, and how often. '' stands for those that were refused. */
  async count(calls = CALLS): Promise<Readonly<Record<Name | '', number>>> {
    const counts = { near: 0, middle: 0, cart: 0, '': 0 }
    for (let done = 0; done < calls; done += WIDTH) {
      const sockets = Array.from({ length: Math.min(WIDTH, calls - done) }, () =>
        this.lab.connect('front', VIP, 80),
      )
      for (const each of sockets) {
        await each.until('an end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
        counts[NAMES.find((name) => name === each.text) ?? '']++
        each.destroy()
      }
    }
    return counts
  }
}

/** A share is what it should be, loosely: six standard deviations of a draw. */
function assertShare(t: Test, what: string, count: number, share: number): void {
  const allowed = 6 * Math.sqrt(CALLS * share * (1 - share))
  t.ok(
    Math.abs(count - CALLS * share) <= allowed,
    `${what}: ${count} of ${CALLS}, ${(CALLS * share).toFixed(0)} ± ${allowed.toFixed(0)}`,
  )
}

async function testWeights(t: Test, world: World): Promise<void> {
  await t.test('weights are shares; who weighs nothing gets nothing', async (t) => {
    await world.configure(
      { near: { capacity: 1 }, middle: { capacity: 3 }, cart: { capacity: 4, node: 'n2' } },
      null,
    )
    const weighed = await world.count()
    assertShare(t, 'one of eight', weighed.near, 1 / 8)
    assertShare(t, 'three of eight', weighed.middle, 3 / 8)
    assertShare(t, 'four of eight, through a tunnel', weighed.cart, 4 / 8)
    t.equal(weighed[''], 0)
    await world.configure({ near: { capacity: 0 }, cart: { node: 'n2' } }, null)
    const without = await world.count()
    t.equal(without.near, 0)
    assertShare(t, 'half', without.middle, 1 / 2)
    assertShare(t, 'the other half', without.cart, 1 / 2)
  })
}

async function testHealth(t: Test, world: World): Promise<void> {
  const balancer = { mode: 'Standard', routingPreferences: [] } as const
  const sick = { status: 'Unhealthy' } as const
  await t.test('who is unhealthy gets nothing, unless all are allowed', async (t) => {
    const places: Places = { near: sick, cart: { node: 'n2' } }
    for (const healthPolicy of ['OnlyHealthy', 'AllowAll'] as const) {
      await world.configure(places, { ...balancer, healthPolicy })
      const { near, middle, cart, '': refused } = await world.count()
      t.equal(refused, 0)
      if (healthPolicy === 'OnlyHealthy') t.equal(near, 0)
      else assertShare(t, 'the unhealthy one', near, 1 / 3)
      t.ok(middle > 0 && cart > 0)
    }
  })
  await t.test('when nobody is healthy the call is refused, with its reason', async (t) => {
    const places: Places = { near: sick, middle: sick, cart: { ...sick, node: 'n2' } }
    await world.configure(places, { ...balancer, healthPolicy: 'OnlyHealthy' })
    t.same(await world.count(3), { near: 0, middle: 0, cart: 0, '': 3 })
    await world.refusal(/3 endpoints, 3 unhealthy/)
    await world.configure(places, { ...balancer, healthPolicy: 'AllowAll' })
    t.equal((await world.count(20))[''], 0)
  })
}

async function testPlaces(t: Test, world: World): Promise<void> {
  const all = { near: 0, middle: 0, cart: 0, '': 0 }
  const close = {
    mode: 'Failover',
    routingPreferences: ['Region', 'Zone'],
    healthPolicy: 'OnlyHealthy',
  } as const
  const sick = { status: 'Unhealthy' } as const
  await t.test('near ones take all, and farther ones when those are not healthy', async (t) => {
    await world.configure(SPREAD, close)
    t.same(await world.count(40), { ...all, near: 40 })
    await world.configure({ ...SPREAD, near: sick }, close)
    t.same(await world.count(40), { ...all, middle: 40 })
    await world.configure({ ...SPREAD, near: sick, middle: { ...SPREAD.middle, ...sick } }, close)
    t.same(await world.count(40), { ...all, cart: 40 })
  })
  await t.test('farther ones also when near ones are dead, which nobody has told', async (t) => {
    await world.configure(SPREAD, close)
    await world.stop('near')
    t.same(await world.count(40), { ...all, middle: 40 }, 'no call fails')
    await world.stop('middle')
    t.same(await world.count(40), { ...all, cart: 40 }, 'nor now')
    for (const name of ['near', 'middle'] as const) world.serve(name)
  })
  await t.test('strictly only near ones, or none at all', async (t) => {
    const strict = { ...close, mode: 'Strict' } as const
    await world.configure(SPREAD, strict)
    t.same(await world.count(40), { ...all, near: 40 })
    await world.configure({ ...SPREAD, near: sick }, strict)
    t.same(await world.count(3), { ...all, '': 3 })
    await world.refusal(/3 endpoints, 1 unhealthy/)
  })
  await t.test('those of the node alone, and those without a preference all', async (t) => {
    const local = { ...close, mode: 'Strict', routingPreferences: ['Node'] } as const
    await world.configure({ cart: { node: 'n2' } }, local)
    const here = await world.count(60)
    t.ok(here.near > 0 && here.middle > 0)
    t.same([here.cart, here['']], [0, 0])
    await world.configure(SPREAD, { ...close, mode: 'Standard' })
    const everywhere = await world.count(60)
    t.ok(
      NAMES.every((name) => everywhere[name] > 0),
      JSON.stringify(everywhere),
    )
  })
}

t.setTimeout(200_000)

t.test('endpoints of a service', { timeout: 190_000 }, async (t) => {
  const strangers = { near: IPS.near, middle: IPS.middle }
  const lab = await MeshLab.start(
    labDirectory(t),
    mesh({ cart: { node: 'n2' } }, null),
    {},
    undefined,
    strangers,
  )
  t.teardown(() => lab.close())
  const world = new World(lab)
  t.teardown(() => world.close())
  for (const name of NAMES) world.serve(name)
  await testWeights(t, world)
  await testHealth(t, world)
  await testPlaces(t, world)
})
