// SPDX-License-Identifier: Apache-2.0
// What every source of configuration must do. A lab puts objects where the source reads them and breaks the way there.
import type { Test } from 'tap'
import type { ConfigSource } from '../../controller/watch/config-source.ts'
import { WATCHED_KINDS } from '../../controller/watch/kinds.ts'
import { policyValue, serviceValue } from './config-objects.ts'
import { RecordingSink } from './recording-sink.ts'

/** Where a source reads; closed after the test. */
export interface SourceLab {
  open(): ConfigSource
  /** Writes an object in the place of the one of its kind and name. */
  put(value: Record<string, unknown>): Promise<void>
  delete(value: Record<string, unknown>): Promise<void>
  /** Nothing can be read until reconnect(). */
  disconnect(): Promise<void>
  reconnect(): Promise<void>
  /** What is put from now on happens while the source does not hear of it; it has to list again. */
  gap(work: () => Promise<void>): Promise<void>
  close(): Promise<void>
}

/** Adds one test of the suite. */
type AddTest = (what: string, body: (t: Test, lab: SourceLab, sink: RecordingSink) => Promise<void>) => void

/** Runs the suite; every test gets a lab of its own. `isValidating`: the place takes no broken objects in. */
export function testConfigSource(
  tap: Test,
  name: string,
  openLab: () => Promise<SourceLab>,
  { isValidating = false } = {},
): void {
  const add: AddTest = (what, body) => {
    void tap.test(`${name}: ${what}`, async (t) => {
      const lab = await openLab()
      try {
        await body(t, lab, new RecordingSink())
      } finally {
        await lab.close()
      }
    })
  }
  testListing(add)
  testChanges(add)
  if (!isValidating) testBroken(add)
  testAbsence(add)
}

/** What the spec of `Service shop/NAME` is, as text. */
function specText(sink: RecordingSink, name: string): string {
  return JSON.stringify(sink.object('Service', 'shop', name)?.spec ?? {})
}

function testListing(test: AddTest): void {
  test('everything is listed kind by kind, then it is synced, once', async (t, lab, sink) => {
    await lab.put(serviceValue('cart'))
    await lab.put(policyValue('close'))
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    t.same(sink.names('Service', 'AuthorizationPolicy'), [
      'AuthorizationPolicy/shop/close',
      'Service/shop/cart',
    ])
    const replaced = new Set(
      sink.calls.filter((call) => call.startsWith('replace')).map((call) => call.split(' ')[1]),
    )
    t.equal(replaced.size, WATCHED_KINDS.length, 'an empty kind is listed too')
    t.ok(sink.calls.lastIndexOf('synced') > sink.calls.findLastIndex((call) => call.startsWith('replace')))
    // An apiserver that just learnt a kind turns its first watches away ("storage is (re)initializing").
    await sink.until('reachable', () => sink.unreachable === null)
    await lab.put(serviceValue('more'))
    await sink.until('more', () => sink.object('Service', 'shop', 'more') !== undefined)
    t.equal(sink.syncedCount, 1)
    await source.stop()
  })

  test('an empty source is synced as well', async (t, lab, sink) => {
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    t.same(sink.names('Service'), [])
    await source.stop()
  })
}

function testChanges(test: AddTest): void {
  test('what is added, changed and deleted is told, in that order', async (t, lab, sink) => {
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    const before = sink.calls.length
    await lab.put(serviceValue('cart', 80))
    await sink.until('added', () => specText(sink, 'cart').includes(':80}'))
    const first = sink.object('Service', 'shop', 'cart')
    await lab.put(serviceValue('cart', 81))
    await sink.until('changed', () => specText(sink, 'cart').includes(':81}'))
    t.not(sink.object('Service', 'shop', 'cart'), first, 'an object that changed is another one')
    await lab.delete(serviceValue('cart'))
    await sink.until('deleted', () => sink.object('Service', 'shop', 'cart') === undefined)
    const calls = sink.calls.slice(before).filter((call) => call.includes('Service/shop/cart'))
    t.same(calls, ['apply Service/shop/cart', 'apply Service/shop/cart', 'remove Service/shop/cart'])
    await source.stop()
  })

  test('the last of many quick changes is the one in force', async (t, lab, sink) => {
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    for (let port = 1; port <= 20; port++) await lab.put(serviceValue('cart', port))
    await sink.until('last', () => specText(sink, 'cart').includes(':20}'))
    await lab.put(serviceValue('end'))
    await sink.until('end', () => sink.object('Service', 'shop', 'end') !== undefined)
    t.match(specText(sink, 'cart'), ':20}', 'nothing older comes after')
    await source.stop()
  })

  test('after a gap everything is as it would have been without', async (t, lab, sink) => {
    await lab.put(serviceValue('stays'))
    await lab.put(serviceValue('goes'))
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    const stays = sink.object('Service', 'shop', 'stays')
    await lab.gap(async () => {
      await lab.delete(serviceValue('goes'))
      await lab.put(serviceValue('comes'))
    })
    await sink.until('comes', () => sink.object('Service', 'shop', 'comes') !== undefined)
    await sink.until('goes', () => sink.object('Service', 'shop', 'goes') === undefined)
    t.same(sink.names('Service'), ['Service/shop/comes', 'Service/shop/stays'])
    t.same(sink.object('Service', 'shop', 'stays')?.spec, stays?.spec)
    t.equal(sink.syncedCount, 1, 'synced is told once per start')
    await source.stop()
  })
}

function testBroken(test: AddTest): void {
  test('a broken object is told and its last good version stays, until it is mended or deleted', async (t, lab, sink) => {
    await lab.put(serviceValue('cart', 80))
    await lab.put(serviceValue('other', 80))
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    const good = sink.object('Service', 'shop', 'cart')
    await lab.put(serviceValue('cart', 'eighty-thousand {}'))
    // A port may have a name only where it is a target.
    await sink.until('mistake', () => sink.told.some(({ path }) => path === 'spec.ports[0].port'))
    t.match(sink.told, [{ severity: 'error', message: /expected a whole number/ }])
    t.equal(sink.object('Service', 'shop', 'cart'), good)
    await lab.gap(() => lab.put(serviceValue('other', 81)))
    await sink.until('other', () => specText(sink, 'other').includes(':81}'))
    t.same(sink.object('Service', 'shop', 'cart')?.spec, good?.spec, 'also when all is listed again')
    await lab.put(serviceValue('cart', 82))
    await sink.until('mended', () => sink.told.length === 0)
    await sink.until('82', () => specText(sink, 'cart').includes(':82}'))
    await lab.put(serviceValue('cart', 'again'))
    await sink.until('broken again', () => sink.told.length === 1)
    await lab.delete(serviceValue('cart'))
    await sink.until(
      'gone',
      () => sink.object('Service', 'shop', 'cart') === undefined && sink.told.length === 0,
    )
    t.same(sink.names('Service'), ['Service/shop/other'])
    await source.stop()
  })

  test('a broken policy without a better version refuses rather than not being there', async (t, lab, sink) => {
    await lab.put(policyValue('p', { action: 'DENNY' }))
    await lab.put(serviceValue('broken', 'x'))
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    await sink.until('mistakes', () => sink.told.length === 2)
    t.same(sink.names('Service', 'AuthorizationPolicy'), ['AuthorizationPolicy/shop/p'])
    t.equal(sink.told.find(({ path }) => path === 'spec.action')?.suggestion, 'DENY')
    await source.stop()
  })

  test('an unknown field is told with what was meant, and the object counts', async (t, lab, sink) => {
    await lab.put({ ...serviceValue('cart'), spec: { prots: [] } })
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1 && sink.told.length === 1)
    t.match(sink.told, [{ severity: 'warning', path: 'spec.prots', suggestion: 'ports' }])
    t.same(sink.names('Service'), ['Service/shop/cart'])
    await source.stop()
  })
}

function testAbsence(test: AddTest): void {
  test('a source that is away says why, keeps what it knows, and goes on when it is back', async (t, lab, sink) => {
    await lab.put(serviceValue('cart'))
    const source = lab.open()
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
    await lab.disconnect()
    await sink.until('away', () => sink.unreachable !== null)
    t.match(sink.unreachable, /\w{3}/)
    t.same(sink.names('Service'), ['Service/shop/cart'])
    await lab.reconnect()
    await sink.until('back', () => sink.unreachable === null)
    await lab.put(serviceValue('later'))
    await sink.until('later', () => sink.object('Service', 'shop', 'later') !== undefined)
    t.same(sink.names('Service'), ['Service/shop/cart', 'Service/shop/later'])
    t.equal(sink.syncedCount, 1)
    await source.stop()
  })

  test('a source that is away from the beginning is read when it comes', async (t, lab, sink) => {
    await lab.put(serviceValue('cart'))
    await lab.disconnect()
    const source = lab.open()
    source.start(sink)
    await sink.until('away', () => sink.unreachable !== null)
    t.equal(sink.syncedCount, 0, 'nothing is complete yet')
    await lab.reconnect()
    await sink.until('synced', () => sink.syncedCount === 1)
    t.same(sink.names('Service'), ['Service/shop/cart'])
    await sink.until('reachable', () => sink.unreachable === null)
    await source.stop()
  })

  test('after stop() nothing is heard, whenever it is called', async (t, lab, sink) => {
    const early = lab.open()
    early.start(sink)
    await early.stop()
    const source = lab.open()
    const other = new RecordingSink()
    source.start(other)
    await other.until('synced', () => other.syncedCount === 1)
    await source.stop()
    const [calls, earlyCalls] = [other.calls.length, sink.calls.length]
    await lab.put(serviceValue('cart'))
    const witness = lab.open()
    const seen = new RecordingSink()
    witness.start(seen)
    await seen.until('seen by another', () => seen.object('Service', 'shop', 'cart') !== undefined)
    await witness.stop()
    t.equal(other.calls.length, calls)
    t.equal(sink.calls.length, earlyCalls)
  })
}
