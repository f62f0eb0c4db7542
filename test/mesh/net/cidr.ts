// SPDX-License-Identifier: Apache-2.0
import { BlockList } from 'node:net'
import t from 'tap'
import { ipToBytes } from '../../../mesh/net/address.ts'
import { CidrSet, cidrContains, formatCidr, parseCidr } from '../../../mesh/net/cidr.ts'

const bytesOf = (ip: string): Uint8Array => ipToBytes(ip) ?? new Uint8Array()

t.test('a prefix is canonical: host bits cleared, length always there', async (t) => {
  const table: [string, string][] = [
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['255.255.255.255/31', '255.255.255.254/31'],
    ['FD00::7', 'fd00::7/128'],
    ['fdff::/7', 'fc00::/7'],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
  ]
  for (const [text, canonical] of table) t.equal(parseCidr(text)?.text, canonical, text)
  for (const text of [
    '',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '::/129',
    '10.0.0.0/-1',
    'x/8',
    '1/2/3',
  ]) {
    t.equal(parseCidr(text), undefined, text)
  }
  t.equal(parseCidr('::ffff:1.2.3.4/95'), undefined, 'shorter than the mapped prefix itself')
})

t.test('containment agrees with the runtime for every length', async (t) => {
  for (let length = 0; length <= 32; length++) {
    const cidr = parseCidr(`10.20.30.40/${length}`)
    if (cidr === undefined) throw new Error('unreachable')
    const oracle = new BlockList()
    oracle.addSubnet('10.20.30.40', length, 'ipv4')
    const set = new CidrSet([cidr])
    for (let bit = 0; bit < 32; bit++) {
      const flipped = bytesOf('10.20.30.40')
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (128 >> (bit & 7))
      const expected = oracle.check([...flipped].join('.'), 'ipv4')
      if (cidrContains(cidr, flipped) !== expected) t.fail(`/${length} bit ${bit}`)
      if (set.contains(flipped) !== expected) t.fail(`set /${length} bit ${bit}`)
    }
  }
  t.pass('33 lengths × 32 bits')
})

t.test('families never match each other', async (t) => {
  const everyV4 = parseCidr('0.0.0.0/0')
  const everyV6 = parseCidr('::/0')
  if (everyV4 === undefined || everyV6 === undefined) throw new Error('unreachable')
  t.notOk(cidrContains(everyV4, bytesOf('::1')))
  t.notOk(cidrContains(everyV6, bytesOf('1.2.3.4')))
  t.notOk(new CidrSet([everyV4]).contains(bytesOf('::1')))
  t.ok(new CidrSet([everyV4, everyV6]).contains(bytesOf('::1')))
  t.notOk(new CidrSet([]).contains(bytesOf('1.2.3.4')))
})

t.test('a prefix is told from its bytes', async (t) => {
  t.equal(formatCidr(Uint8Array.of(10, 1, 2, 3), 8), '10.0.0.0/8')
  t.equal(formatCidr(Uint8Array.of(10, 1, 2, 3), 32), '10.1.2.3/32')
  t.equal(formatCidr(Uint8Array.of(10, 1, 2, 3), 33), undefined)
  t.equal(formatCidr(Uint8Array.of(10, 1, 2), 8), undefined)
  const mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3)
  t.equal(formatCidr(mapped, 104), '10.0.0.0/8')
  t.equal(formatCidr(mapped, 64), undefined)
  t.equal(formatCidr(Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7), 64), 'fd00::/64')
})
