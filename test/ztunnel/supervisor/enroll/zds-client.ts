// SPDX-License-Identifier: Apache-2.0
// Against a server that speaks, and breaks, the protocol over a real socket with real descriptors.
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { PodInfo } from '../../../../mesh/generations/pods.ts'
import { systemClock } from '../../../../mesh/runtime/clock.ts'
import type { PodRoster } from '../../../../ztunnel/supervisor/enroll/pod-roster.ts'
import { ZdsClient } from '../../../../ztunnel/supervisor/enroll/zds-client.ts'
import { errorOf, ZdsAgent } from '../../../support/zds-agent.ts'

/** Keeps the descriptors it is given, as the supervisor does. */
class Roster implements PodRoster {
  readonly pods = new Map<string, PodInfo>()
  readonly calls: string[] = []
  readonly inodes: number[] = []
  failure: string | null = null
  /** Before that nothing is answered. */
  isFree: Promise<void> = Promise.resolve()

  async add(pod: PodInfo, netns: number): Promise<string | null> {
    this.calls.push(`add ${pod.uid}`)
    this.inodes.push(fstatSync(netns).ino)
    closeSync(netns)
    this.pods.set(pod.uid, pod)
    await this.isFree
    return this.failure
  }

  redirect(uid: string): void {
    this.calls.push(`redirect ${uid}`)
  }

  remove(uid: string): void {
    this.calls.push(`remove ${uid}`)
    this.pods.delete(uid)
  }

  release(): void {
    throw new Error('the agent only takes away')
  }

  retain(uids: ReadonlySet<string>): void {
    this.calls.push(`retain ${[...uids].toSorted().join()}`)
    for (const uid of [...this.pods.keys()]) if (!uids.has(uid)) this.pods.delete(uid)
  }

  setCurrent(isCurrent: boolean): void {
    this.calls.push(isCurrent ? 'current' : 'not current')
  }
}

type Logged = Readonly<Record<string, unknown>>

async function openLab(t: Test) {
  const directory = mkdtempSync(join(tmpdir(), 'zds-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'agent.sock')
  const agent = new ZdsAgent(path)
  t.teardown(() => agent.close())
  const roster = new Roster()
  const logged: Logged[] = []
  const log = pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) })
  const changes = { count: 0 }
  const client = new ZdsClient({
    ...{ path, roster, clock: systemClock, random: () => 0.5, log },
    onChange: () => void changes.count++,
  })
  t.teardown(() => client.stop())
  const netns = openSync('/proc/self/ns/net', 'r')
  t.teardown(() => closeSync(netns))
  client.start()
  const connection = await agent.accept()
  t.same(await connection.next(), Buffer.from([0x08, 0x01]), 'hello, version 1')
  return { agent, roster, client, connection, netns, path, logged, changes }
}

const INFO = { name: 'a', namespace: 'shop', serviceAccount: 'a' }
const SNAPSHOT = { case: 'snapshotSent', value: {} } as const

t.test('all pods, then what changes; every request is answered', async (t) => {
  const { roster, client, connection, netns } = await openLab(t)
  t.equal(await connection.add('a', netns), '')
  t.same(roster.pods.get('a'), { uid: 'a', name: 'a', namespace: 'shop', serviceAccount: 'a' })
  t.same(roster.inodes, [fstatSync(netns).ino], 'the very namespace')
  t.equal(await connection.ask({ case: 'keep', value: { uid: 'k' } }), '')
  t.same(client.status(), { isConnected: true, isSynced: false, lastFailure: '', failures: {} })
  t.equal(await connection.ask(SNAPSHOT), '')
  t.equal(client.status().isSynced, true)
  t.equal(await connection.add('b', netns), '')
  t.equal(await connection.ask({ case: 'del', value: { uid: 'a' } }), '')
  t.equal(await connection.ask({ case: 'del', value: { uid: 'never' } }), '')
  t.same(roster.calls, ['add a', 'retain a,k', 'current', 'add b', 'remove a', 'remove never'])
})

t.test('success is the two bytes that agents compare with', async (t) => {
  const { connection } = await openLab(t)
  connection.send(Buffer.from([0x1a, 0x00])) // snapshot_sent, empty
  t.same(await connection.next(), Buffer.from([0x0a, 0x00]))
})

t.test('a pod that cannot be served is told, and the connection stays', async (t) => {
  const { roster, connection, netns } = await openLab(t)
  roster.failure = 'NAMESPACE_GONE: no more'
  t.equal(await connection.add('a', netns), 'NAMESPACE_GONE: no more')
  roster.failure = null
  t.equal(await connection.add('b', netns), '')
  t.equal(await connection.ask(SNAPSHOT), '')
  t.ok(roster.calls.includes('retain a,b'), 'it is still one of the pods')
})

t.test('who breaks the protocol is told, left, and called again; what was enrolled stays', async (t) => {
  const { agent, roster, client, connection, netns, logged, changes } = await openLab(t)
  t.equal(await connection.add('a', netns), '')
  t.equal(await connection.ask(SNAPSHOT), '')
  let current = connection
  const breaches: readonly (readonly [string, () => Promise<string | null>])[] = [
    ['a second snapshot', () => current.ask(SNAPSHOT)],
    ['keep after the snapshot', () => current.ask({ case: 'keep', value: { uid: 'a' } })],
    ['no descriptor', () => current.ask({ case: 'add', value: { uid: 'x', workloadInfo: INFO } })],
    [
      'two descriptors',
      () => current.ask({ case: 'add', value: { uid: 'x', workloadInfo: INFO } }, [netns, netns]),
    ],
    ['a descriptor too many', () => current.ask({ case: 'del', value: { uid: 'a' } }, [netns])],
    ['a pod without a name', () => current.ask({ case: 'add', value: { uid: 'x' } }, [netns])],
    [
      'a pod without an id',
      () => current.ask({ case: 'add', value: { uid: '', workloadInfo: INFO } }, [netns]),
    ],
    ['a long id', () => current.ask({ case: 'del', value: { uid: 'x'.repeat(254) } })],
    [
      'a request that is none',
      async () => {
        current.send(Buffer.from([0x22, 0x00]))
        return errorOf((await current.next()) ?? Buffer.alloc(0))
      },
    ],
  ]
  for (const [index, [what, breach]] of breaches.entries()) {
    const known = logged.length
    const before = changes.count
    const error = await breach()
    t.ok(error !== null && error !== '', `${what}: ${error}`)
    t.equal(await current.next(), null, 'the connection ends')
    const told = logged.slice(known).filter(({ level }) => level === 40)
    t.match(told, [{ reason: 'ZDS_PROTOCOL', detail: error, fix: /version/ }], what)
    t.same(client.status().failures, { ZDS_PROTOCOL: index + 1 })
    t.equal(changes.count, before + 1)
    current = await agent.accept()
    t.same(await current.next(), Buffer.from([0x08, 0x01]))
    t.equal(client.status().isSynced, false)
    t.same([...roster.pods.keys()], ['a'], 'what was enrolled stays')
    t.equal(await current.ask({ case: 'keep', value: { uid: 'a' } }), '')
    t.equal(await current.ask(SNAPSHOT), '')
    t.same([...roster.pods.keys()], ['a'])
  }
})

t.test('larger than any request, and more of them than may wait', async (t) => {
  const { agent, client, connection, roster, netns } = await openLab(t)
  connection.send(Buffer.alloc(2_000, 1))
  t.match(errorOf((await connection.next()) ?? Buffer.alloc(0)), /2000 bytes/)
  t.equal(await connection.next(), null)
  const next = await agent.accept()
  await next.next()
  const { promise, resolve } = Promise.withResolvers<void>()
  roster.isFree = promise
  void next.add('slow', netns)
  for (let count = 0; count < 65; count++) next.send(Buffer.from([0x12, 0x03, 0x12, 0x01, 0x61]))
  while (client.status().failures.ZDS_PROTOCOL === 1) await new Promise((again) => setImmediate(again))
  resolve()
  t.match(client.status().lastFailure, /more requests/)
  t.same(client.status().failures, { ZDS_PROTOCOL: 2 })
})

t.test('no bytes harm it, and no descriptor is left open', async (t) => {
  const { agent, connection, netns, roster } = await openLab(t)
  const openCount = (): number => readdirSync('/proc/self/fd').length
  let current = connection
  let before = 0
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 1_500 }),
      fc.nat({ max: 3 }),
      async (bytes, count) => {
        current.send(Buffer.from(bytes), new Array<number>(count).fill(netns))
        const answer = await current.next()
        t.not(answer, null, 'everything is answered')
        if (answer?.equals(Buffer.from([0x0a, 0x00])) === true) return
        t.equal(await current.next(), null)
        current.close()
        current = await agent.accept()
        await current.next()
        await current.ask(SNAPSHOT) // otherwise each new connection waits twice as long
        if (before === 0) before = openCount()
      },
    ),
    { numRuns: 60 },
  )
  t.ok(openCount() <= before + 2, `${before} ${openCount()}`)
  t.ok(roster.pods.size < 60)
})

t.test('an agent that goes is waited for, and stop() ends the wait', async (t) => {
  const { agent, client, connection, roster, path, netns, logged } = await openLab(t)
  await connection.add('a', netns)
  await connection.ask(SNAPSHOT)
  agent.close()
  connection.close()
  while (client.status().isConnected) await new Promise((resolve) => setTimeout(resolve, 5))
  t.not(client.status().lastFailure, '')
  t.match(
    logged.find(({ reason }) => reason === 'ZDS_UNAVAILABLE'),
    { level: 40, detail: 'it has closed the connection', fix: /not ready/ },
  )
  t.ok((client.status().failures.ZDS_UNAVAILABLE ?? 0) > 0)
  t.ok(roster.calls.includes('not current'))
  t.same([...roster.pods.keys()], ['a'], 'nobody is un-enrolled because the agent restarts')
  const next = new ZdsAgent(path)
  t.teardown(() => next.close())
  const again = await next.accept()
  t.same(await again.next(), Buffer.from([0x08, 0x01]))
  client.stop()
  t.equal(await again.next(), null)
  t.equal(client.status().isConnected, false)
})
