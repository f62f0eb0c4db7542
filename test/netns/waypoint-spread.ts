// SPDX-License-Identifier: Apache-2.0
// Connections over the instances of a waypoint, of real processes: shared evenly, a new instance is filled, one that leaves
// loses no request.
import t from 'tap'
import { CallerLoad } from '../support/caller-load.ts'
import { poll } from '../support/mesh-lab.ts'
import { INSTANCES } from '../support/waypoint-instance.ts'
import { WaypointMesh, waypointCluster } from '../support/waypoint-mesh.ts'

/** The most that one may have of what another one has. */
const MAX_RATIO = 1.2
/** Of which one must be shared evenly. */
const SPELLS = 4
const FILLED_WITHIN_MS = 30_000
/** Callers that keep their connections: so many that one connection more or less at an instance is within the ratio. */
const KEPT = 60

/** Connections that front has open now, by the instance they go to. */
async function openTo(mesh: WaypointMesh): Promise<readonly number[]> {
  const { text } = await mesh.lab.admin('n1', '/connections')
  const all = JSON.parse(text) as { readonly peer: string; readonly direction: string }[] // as: the route's answer
  return INSTANCES.map(({ ip }) => all.filter(({ peer }) => peer === `${ip}:15008`).length)
}

/** Requests that each of the first `count` instances has answered. */
function answeredBy(mesh: WaypointMesh, count: number): Promise<readonly number[]> {
  return Promise.all(
    mesh.instances.slice(0, count).map(async (instance) => {
      const { body } = await instance.admin('/metrics')
      const lines = body.split('\n').filter((line) => line.startsWith('istio_requests_total{'))
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
    }),
  )
}

/** The same, of a while. */
async function answeredMeanwhile(
  mesh: WaypointMesh,
  pass: () => Promise<unknown>,
): Promise<readonly number[]> {
  const before = await answeredBy(mesh, 3)
  await pass()
  return (await answeredBy(mesh, 3)).map((count, index) => count - (before[index] ?? 0))
}

const ratioOf = (counts: readonly number[]): number => Math.max(...counts) / Math.min(...counts)

/** Instance `count` − 1 comes: its pod, then its process, then the pod is ready. */
async function scaleUp(mesh: WaypointMesh, count: number): Promise<void> {
  const instance = mesh.instances[count - 1]
  if (instance === undefined) throw new Error(`no instance ${count}`)
  await instance.join()
  await mesh.controller.configure(waypointCluster([], count, count - 1))
  instance.start()
  await instance.untilReady()
  await mesh.controller.configure(waypointCluster([], count))
}

t.setTimeout(240_000)
t.test('the instances of a waypoint share what comes', { timeout: 210_000 }, async (t) => {
  const mesh = await WaypointMesh.start(t)
  await scaleUp(mesh, 2)
  await CallerLoad.warmUp(t, mesh, 'front')
  const kept = new CallerLoad(t, mesh, 'front', KEPT, 'keep')
  await kept.more(200)

  await t.test('a new one is filled, though all callers keep their connections', async (t) => {
    await scaleUp(mesh, 3)
    const startMs = performance.now()
    let open: readonly number[] = []
    const isFilled = async (): Promise<true | null> => {
      open = await openTo(mesh)
      return (Math.min(...open) > 0 && ratioOf(open) <= MAX_RATIO) || null
    }
    await poll('the third filled', isFilled, FILLED_WITHIN_MS).catch(() => t.fail(open.join(' ')))
    t.comment(`${open.join(' ')} connections after ${Math.round(performance.now() - startMs)} ms`)
    const { failures, connections } = await kept.progress()
    t.same(failures, [])
    t.ok(
      connections < KEPT * 3,
      `${connections} connections were opened by ${KEPT} callers: only some had to move`,
    )
  })

  await t.test('requests are shared evenly, on kept connections and on new ones', async (t) => {
    for (const callers of [kept, new CallerLoad(t, mesh, 'front', 7, 'new')]) {
      await callers.more(50)
      // An instance that its machine leaves without a processor for a while answers less: that is no uneven share.
      const spells: (readonly number[])[] = []
      do spells.push(await answeredMeanwhile(mesh, () => callers.more(2_000)))
      while (spells.length < SPELLS && spells.every((counts) => ratioOf(counts) > MAX_RATIO))
      const told = spells.map((counts) => counts.join(' ')).join('; ')
      t.ok(
        spells.some((counts) => ratioOf(counts) <= MAX_RATIO),
        `${told} requests`,
      )
      t.comment(`${told} requests`)
      if (callers !== kept) {
        t.same((await callers.progress()).failures, [])
        await callers.end()
      }
    }
    const open = await openTo(mesh)
    t.ok(ratioOf(open) <= MAX_RATIO, `${open.join(' ')} connections`)
  })

  await t.test('one that leaves loses no request', async (t) => {
    const short = new CallerLoad(t, mesh, 'front', 5, 'new')
    await short.more(50)
    const [, , leaving] = mesh.instances
    const ended = leaving?.stop()
    await mesh.controller.configure(waypointCluster([], 2))
    await ended
    await Promise.all([short.more(200), kept.more(200)])
    t.same((await short.progress()).failures, [])
    t.same((await kept.progress()).failures, [])
    await short.end()
    const [first = 0, second = 0, third = 0] = await openTo(mesh)
    t.equal(third, 0)
    t.equal(first + second, KEPT, 'who kept a connection has another one')
    t.comment(`${first} and ${second} connections`)
  })

  await t.test('one that leaves before anybody has heard of it loses none either', async (t) => {
    const short = new CallerLoad(t, mesh, 'front', 5, 'new')
    await short.more(50)
    await mesh.instances[1]?.stop()
    await Promise.all([short.more(200), kept.more(200)])
    t.same((await short.progress()).failures, [])
    t.same((await kept.progress()).failures, [])
    await short.end()
    await kept.end()
  })
})
