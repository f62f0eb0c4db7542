// SPDX-License-Identifier: Apache-2.0
import { isIP } from 'node:net'
import t from 'tap'
import {
  formatIp,
  formatSocketAddress,
  ipToBytes,
  isLoopback,
  parseIp,
  parsePort,
  parseSocketAddress,
} from '../../../mesh/net/address.ts'

t.test('every spelling of an address has one canonical text', async (t) => {
  const table: [string, string][] = [
    ['10.0.0.1', '10.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['FD00:0:0:0:0:0:0:7', 'fd00::7'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0db8::0001', '2001:db8::1'],
    ['0:0:1:0:0:0:1:0', '0:0:1::1:0'],
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['::ffff:0a01:0203', '10.1.2.3'],
    ['64:ff9b::10.1.2.3', '64:ff9b::a01:203'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
  ]
  for (const [text, canonical] of table) {
    t.equal(parseIp(text), canonical, text)
    t.equal(parseIp(canonical), canonical, 'canonical text is a fixed point')
    t.not(isIP(text), 0, 'the table itself is right')
  }
})

t.test('what is no address is undefined', async (t) => {
  const bad = [
    ...[
      '',
      '.',
      '1',
      '1.2.3',
      '1.2.3.4.',
      '1.2.3.4.5',
      '01.2.3.4',
      '1.2.3.00',
      '256.1.1.1',
      ' 1.2.3.4',
      '1..2.3',
    ],
    ...[
      ':',
      ':::',
      '1:',
      ':1',
      '1::2::3',
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4:5:6:7:8::',
      '12345::',
    ],
    ...[
      'fe80::1%eth0',
      '::1.2.3',
      '::1.2.3.4:1',
      '1:2:3:4:5:6:7:1.2.3.4',
      'g::',
      '[::1]',
      '1.2.3.4/8',
      '::-1',
    ],
    '0'.repeat(1000),
  ]
  for (const text of bad) {
    t.equal(parseIp(text), undefined, JSON.stringify(text).slice(0, 40))
  }
})

t.test('bytes and text agree', async (t) => {
  t.same(ipToBytes('1.2.3.4'), Uint8Array.of(1, 2, 3, 4))
  t.same(ipToBytes('::ffff:1.2.3.4'), Uint8Array.of(1, 2, 3, 4))
  t.equal(formatIp(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 9, 8, 7, 6)), '9.8.7.6')
  t.equal(formatIp(new Uint8Array(5)), undefined)
  t.equal(formatIp(new Uint8Array(16)), '::')
})

t.test('loopback is 127/8 and ::1', async (t) => {
  for (const ip of ['127.0.0.1', '127.9.9.9', '::1']) t.ok(isLoopback(ip), ip)
  for (const ip of ['128.0.0.1', '1.27.0.1', '::2', '::']) t.notOk(isLoopback(ip), ip)
})

t.test('a socket address names one address and one port', async (t) => {
  t.same(parseSocketAddress('10.0.0.1:80'), { ip: '10.0.0.1', port: 80 })
  t.same(parseSocketAddress('[FD00::7]:65535'), { ip: 'fd00::7', port: 65535 })
  t.same(parseSocketAddress('[::ffff:1.2.3.4]:1'), { ip: '1.2.3.4', port: 1 })
  for (const text of [
    '',
    ':80',
    '1.2.3.4',
    '1.2.3.4:',
    '1.2.3.4:0',
    '1.2.3.4:65536',
    '::1:80',
    '[1.2.3.4]:80',
  ]) {
    t.equal(parseSocketAddress(text), undefined, text)
  }
  for (const text of ['[::1]', '[::1]80', '1.2.3.4:080', '1.2.3.4:+8', '1.2.3.4:8 ', 'host:80']) {
    t.equal(parseSocketAddress(text), undefined, text)
  }
  t.equal(formatSocketAddress('fd00::7', 80), '[fd00::7]:80')
  t.equal(formatSocketAddress('1.2.3.4', 80), '1.2.3.4:80')
  t.equal(parsePort('15008'), 15008)
})
