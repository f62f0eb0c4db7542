// SPDX-License-Identifier: Apache-2.0
import { isIP } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { formatSpiffeId, parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import {
  formatIp,
  formatSocketAddress,
  ipToBytes,
  parseIp,
  parseSocketAddress,
} from '../../mesh/net/address.ts'
import { CidrSet, cidrContains, parseCidr } from '../../mesh/net/cidr.ts'

const OPTIONS = { numRuns: 5000, seed: 20_260_101 }
const addressLike = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.string({ unit: fc.constantFrom(...'0123456789abcdefF:.%/[]'), maxLength: 48 }),
  fc.string(),
)
const bytes = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // Many zero groups, where the shortening rules bite.
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
    .map((list) => Uint8Array.from(list)),
)

t.test('addresses are accepted exactly when the runtime accepts them, zones aside', async (t) => {
  fc.assert(
    fc.property(
      addressLike,
      (text) => (parseIp(text) !== undefined) === (isIP(text) !== 0 && !text.includes('%')),
    ),
    OPTIONS,
  )
  t.pass('agreed')
})

t.test('canonical IPv6 is the URL standard’s, which is RFC 5952', async (t) => {
  fc.assert(
    fc.property(bytes, (address) => {
      const text = formatIp(address)
      if (text === undefined) return false
      const back = ipToBytes(text)
      const isSame = back !== undefined && formatIp(back) === text
      return isSame && (!text.includes(':') || new URL(`http://[${text}]/`).hostname === `[${text}]`)
    }),
    OPTIONS,
  )
  t.pass('agreed')
})

t.test('socket addresses survive a round trip and no text throws', async (t) => {
  fc.assert(
    fc.property(bytes, fc.integer({ min: 1, max: 65_535 }), addressLike, (address, port, text) => {
      const ip = formatIp(address) ?? ''
      const back = parseSocketAddress(formatSocketAddress(ip, port))
      parseSocketAddress(text)
      parseCidr(text)
      return back?.ip === ip && back.port === port
    }),
    OPTIONS,
  )
  t.pass('agreed')
})

t.test('a set of prefixes answers as its members do', async (t) => {
  const small = fc
    .array(fc.constantFrom(0, 1, 128), { minLength: 4, maxLength: 4 })
    .map((list) => list.join('.'))
  const prefix = fc
    .tuple(small, fc.integer({ min: 0, max: 32 }))
    .map(([ip, length]) => parseCidr(`${ip}/${length}`))
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 5 }), small, (list, ip) => {
      const cidrs = list.filter((cidr) => cidr !== undefined)
      const address = ipToBytes(ip)
      if (address === undefined || cidrs.length !== list.length) return false
      return new CidrSet(cidrs).contains(address) === cidrs.some((cidr) => cidrContains(cidr, address))
    }),
    OPTIONS,
  )
  t.pass('agreed')
})

t.test('an identity that is accepted has one spelling', async (t) => {
  const part = fc.string({ unit: fc.constantFrom(...'abZ09.-_/%:é'), maxLength: 8 })
  let accepted = 0
  fc.assert(
    fc.property(part, part, part, (trustDomain, namespace, serviceAccount) => {
      const text = formatSpiffeId({ trustDomain, namespace, serviceAccount })
      const id = parseSpiffeId(text)
      if (isRefusal(id)) return true
      accepted++
      return formatSpiffeId(id) === text && id.namespace === namespace && id.serviceAccount === serviceAccount
    }),
    OPTIONS,
  )
  t.ok(accepted > 20, `${accepted} accepted`)
})
