// SPDX-License-Identifier: Apache-2.0
import type { JSONWebKeySet } from 'jose'
import t from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { KeySets } from '../../../waypoint/tokens/key-sets.ts'
import {
  KEY_REFRESH_MS,
  KEY_RETRY_MS,
  KEY_STALE_MS,
  KEY_UNKNOWN_MS,
  MAX_KEY_SETS,
} from '../../../waypoint/tokens/limits.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const URL_A = 'http://keys/a'
const set = (kid: string): JSONWebKeySet => ({ keys: [{ kty: 'EC', kid }] })

function setUp() {
  const clock = new ManualClock()
  const fetched: string[] = []
  const pending: { resolve: (keys: JSONWebKeySet) => void; reject: (error: unknown) => void }[] = []
  const keys = new KeySets((url) => {
    fetched.push(url)
    return new Promise((resolve, reject) => pending.push({ resolve, reject }))
  }, clock)
  const settle = async (answer: JSONWebKeySet | null): Promise<void> => {
    const next = pending.shift()
    if (answer === null) next?.reject(new MeshError('JWT_UNVERIFIABLE', { detail: 'down' }))
    else next?.resolve(answer)
    await new Promise(setImmediate)
  }
  return { clock, fetched, keys, settle }
}

t.test('all who ask at once wait for one fetch', async (t) => {
  const { fetched, keys, settle } = setUp()
  const asked = [keys.get(URL_A, 0), keys.get(URL_A, 0)]
  await settle(set('1'))
  t.same(await Promise.all(asked), [set('1'), set('1')])
  t.same(await keys.get(URL_A, 0), set('1'))
  t.equal(fetched.length, 1)
})

t.test('a set is fetched anew while it is used, and used on for a while when that fails', async (t) => {
  const { clock, fetched, keys, settle } = setUp()
  const first = keys.get(URL_A, 0)
  await settle(set('1'))
  await first
  clock.advance(KEY_REFRESH_MS)
  t.same(await keys.get(URL_A, 0), set('1'), 'nobody waits')
  t.equal(fetched.length, 2)
  await settle(null)
  t.same(await keys.get(URL_A, 0), set('1'))
  t.equal(fetched.length, 2, 'not again at once')
  clock.advance(KEY_RETRY_MS)
  await keys.get(URL_A, 0)
  t.equal(fetched.length, 3)
  await settle(set('2'))
  t.same(await keys.get(URL_A, 0), set('2'))
  clock.advance(KEY_STALE_MS)
  const late = t.rejects(keys.get(URL_A, 0), { code: 'JWT_UNVERIFIABLE' }, 'but not for ever')
  await settle(null)
  await late
})

t.test('who has no keys is told at once until it is time to try again', async (t) => {
  const { clock, fetched, keys, settle } = setUp()
  const first = t.rejects(keys.get(URL_A, 0), { code: 'JWT_UNVERIFIABLE' })
  await settle(null)
  await first
  await t.rejects(keys.get(URL_A, 0), { code: 'JWT_UNVERIFIABLE' })
  t.equal(fetched.length, 1)
  clock.advance(KEY_RETRY_MS)
  const second = keys.get(URL_A, 0)
  await settle(set('1'))
  t.same(await second, set('1'))
})

t.test('for an unknown key a set is fetched once in a while, however many ask', async (t) => {
  const { clock, fetched, keys, settle } = setUp()
  const first = keys.get(URL_A, 0)
  await settle(set('1'))
  const known = await first
  t.equal(await keys.getNewer(URL_A, 0, known), null, 'it was fetched just now')
  clock.advance(KEY_UNKNOWN_MS)
  const asked = [keys.getNewer(URL_A, 0, known), keys.getNewer(URL_A, 0, known)]
  await settle(set('2'))
  t.same(await Promise.all(asked), [set('2'), set('2')])
  t.same(await keys.getNewer(URL_A, 0, known), set('2'), 'somebody else has fetched it')
  t.equal(fetched.length, 2)
  clock.advance(KEY_UNKNOWN_MS)
  const failing = keys.getNewer(URL_A, 0, await keys.get(URL_A, 0))
  await settle(null)
  t.equal(await failing, null)
  t.same(await keys.get(URL_A, 0), set('2'), 'what is there stays')
})

t.test('no more sets are held than the limit', async (t) => {
  const { fetched, keys, settle } = setUp()
  for (let i = 0; i <= MAX_KEY_SETS; i++) {
    const each = keys.get(`${URL_A}${i}`, 0)
    await settle(set('1'))
    await each
  }
  const again = keys.get(`${URL_A}0`, 0)
  await settle(set('1'))
  await again
  t.equal(fetched.length, MAX_KEY_SETS + 2, 'the one used longest ago is gone')
  await keys.get(`${URL_A}${MAX_KEY_SETS}`, 0)
  t.equal(fetched.length, MAX_KEY_SETS + 2)
})
