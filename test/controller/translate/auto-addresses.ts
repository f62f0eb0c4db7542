// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type AddressWish, assignAddresses } from '../../../controller/translate/auto-addresses.ts'
import { ipToBytes } from '../../../mesh/net/address.ts'
import { cidrContains, parseCidr } from '../../../mesh/net/cidr.ts'

const wish = (key: string, createdMs = Number.NaN): AddressWish => ({ key, createdMs })
const none = new Set<string>()

t.test('a host keeps its address whatever else there is', async (t) => {
  const alone = assignAddresses('240.240.0.0/16', [wish('shop/api.example.com')], none)
  // The number is a promise: other controllers and later releases must give the same one.
  t.equal(alone.get('shop/api.example.com'), '240.240.22.61')
  const crowd = Array.from({ length: 200 }, (_, index) => wish(`shop/h${index}.example.com`, 10))
  const among = assignAddresses('240.240.0.0/16', [...crowd, wish('shop/api.example.com', 5)], none)
  t.equal(among.get('shop/api.example.com'), '240.240.22.61')
  t.equal(new Set(among.values()).size, 201)
})

t.test('of two hosts that meet the older one stays, and nobody gets what is taken', async (t) => {
  // Two addresses: 10.0.0.1 and 10.0.0.2.
  const [first = '', ...others] = ['a', 'b', 'c', 'd', 'e'].map((name) => `n/${name}`)
  const place = (key: string): string | undefined =>
    assignAddresses('10.0.0.0/30', [wish(key)], none).get(key)
  const rival = others.find((key) => place(key) === place(first)) ?? ''
  t.not(rival, '')
  const older = assignAddresses('10.0.0.0/30', [wish(first, 2), wish(rival, 1)], none)
  t.equal(older.get(rival), place(rival))
  t.not(older.get(first), place(first))
  const taken = assignAddresses('10.0.0.0/30', [wish(first)], new Set([place(first) ?? '']))
  t.not(taken.get(first), place(first))
  t.equal(assignAddresses('10.0.0.0/30', [wish(first)], new Set(['10.0.0.1', '10.0.0.2'])).size, 0)
})

t.test('a range that is none gives nothing', async (t) => {
  for (const range of ['', 'x', 'fd00::/64', '10.0.0.1', '10.0.0.0/31', '10.0.0.0/32', '10.0.0.0/33']) {
    t.equal(assignAddresses(range, [wish('n/a')], none).size, 0, range)
  }
})

t.test(
  'addresses are distinct, inside the range, and do not depend on the order of the wishes',
  async (t) => {
    const range = parseCidr('10.9.0.0/26')
    if (range === undefined) throw new Error('no range')
    const wishes = fc.uniqueArray(
      fc.record({ key: fc.string({ maxLength: 8 }), createdMs: fc.constantFrom(1, 2, Number.NaN) }),
      { maxLength: 70, selector: ({ key }) => key },
    )
    fc.assert(
      fc.property(wishes, (list) => {
        const assigned = assignAddresses(range.text, list, none)
        const all = [...assigned.values()]
        t.equal(new Set(all).size, all.length)
        t.equal(all.length, Math.min(list.length, 62))
        for (const ip of all) {
          const bytes = ipToBytes(ip)
          if (bytes === undefined || !cidrContains(range, bytes)) throw new Error(ip)
          if (ip === '10.9.0.0' || ip === '10.9.0.63') throw new Error(ip)
        }
        const turned = assignAddresses(range.text, list.toReversed(), none)
        for (const [key, ip] of assigned) if (turned.get(key) !== ip) throw new Error(key)
      }),
      { numRuns: 100, seed: 3 },
    )
  },
)
