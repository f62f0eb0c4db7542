// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  count,
  decide,
  matchConnectionMark,
  matchInterface,
  matchIp,
  matchMark,
  matchPort,
  matchTcpStart,
  redirectTo,
  setConnectionMark,
  setConnectionZone,
} from '../../../../mesh/reactor/netlink/nf-expressions.ts'

t.test('an IPv4 address is compared at its place in the header', async (t) => {
  t.same(matchIp('destination', '127.0.0.1', true), [
    { kind: 'meta', key: 'nfproto' },
    { kind: 'compare', operator: 'eq', value: '02' },
    { kind: 'payload', base: 'network', offset: 16, bytes: 4 },
    { kind: 'compare', operator: 'neq', value: '7f000001' },
  ])
  t.match(matchIp('source', '10.0.0.1')[2], { offset: 12 })
})

t.test('an IPv6 prefix is masked before it is compared', async (t) => {
  t.same(matchIp('source', 'fd00::1/9'), [
    { kind: 'meta', key: 'nfproto' },
    { kind: 'compare', operator: 'eq', value: '0a' },
    { kind: 'payload', base: 'network', offset: 8, bytes: 16 },
    { kind: 'bitwise', mask: `ff80${'0'.repeat(28)}`, xor: '0'.repeat(32) },
    { kind: 'compare', operator: 'eq', value: `fd${'0'.repeat(30)}` },
  ])
  t.match(matchIp('destination', '::1')[2], { offset: 24, bytes: 16 })
})

t.test('ports stand in network order, marks in the order of the machine', async (t) => {
  t.match(matchPort('tcp', 'destination', 15_008)[3], { value: '3aa0' })
  t.match(matchPort('udp', 'source', 53), [
    { key: 'l4proto' },
    { value: '11' },
    { offset: 0 },
    { value: '0035' },
  ])
  t.match(matchMark(0x539, 0xfff), [
    { key: 'mark' },
    { mask: 'ff0f0000', xor: '00000000' },
    { value: '39050000', operator: 'eq' },
  ])
  t.equal(matchConnectionMark(1, 0xffffffff).length, 2, 'a full mask needs no bitwise step')
})

t.test('setting bits of a connection mark keeps the others', async (t) => {
  t.same(setConnectionMark(0x111, 0xfff), [
    { kind: 'ct', key: 'mark' },
    { kind: 'bitwise', mask: '00f0ffff', xor: '11010000' },
    { kind: 'ctSet', key: 'mark' },
  ])
  t.match(setConnectionMark(5), [{ value: '05000000' }, { key: 'mark' }])
  t.match(setConnectionZone(1), [{ value: '0100' }, { key: 'zone' }])
})

t.test('interface names are padded and bounded', async (t) => {
  t.match(matchInterface('out', 'lo'), [{ key: 'oifname' }, { value: `6c6f${'0'.repeat(28)}` }])
  t.match(matchInterface('in', 'eth0', true), [{ key: 'iifname' }, { operator: 'neq' }])
  t.throws(() => matchInterface('in', 'a'.repeat(16)), { code: 'NETLINK' })
})

t.test('the start of a TCP connection is told by its flags', async (t) => {
  t.same(matchTcpStart(), [
    { kind: 'payload', base: 'transport', offset: 13, bytes: 1 },
    { kind: 'bitwise', mask: '16', xor: '00' },
    { kind: 'compare', operator: 'eq', value: '02' },
  ])
})

t.test('text that is no address is refused', async (t) => {
  for (const text of ['', '10.0.0.1/33', '::/129', 'host', '10.0.0.1/-1', '10.0.0.1/x']) {
    t.throws(() => matchIp('source', text), { code: 'NETLINK' }, text)
  }
})

t.test('decisions', async (t) => {
  t.same(redirectTo(15_006), [{ kind: 'immediate', value: '3a9e' }, { kind: 'redirect' }])
  t.same(
    [...count(), ...decide('accept')],
    [{ kind: 'counter' }, { kind: 'verdict', verdict: 'accept', chain: '' }],
  )
})
