// SPDX-License-Identifier: Apache-2.0
import { SocketAddress as NodeAddress } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import {
  decodeSocketAddress,
  encodeSocketAddress,
  ipv4TextAt,
  ipv6TextAt,
  isIpv6,
  SOCKADDR_BYTES,
} from '../../../mesh/reactor/socket-address.ts'

function encoded(ip: string, port: number, asIpv6 = false): Buffer {
  const bytes = Buffer.alloc(SOCKADDR_BYTES)
  encodeSocketAddress(ip, port, asIpv6).copyTo(bytes, 0)
  return bytes
}

t.test('addresses have the layout of the kernel', async (t) => {
  t.equal(encoded('10.1.2.255', 8080).toString('hex', 0, 16), '02001f900a0102ff0000000000000000')
  t.equal(encodeSocketAddress('10.1.2.3', 1).bytes, 16)
  t.equal(
    encoded('fd00::1:2', 443).toString('hex'),
    '0a0001bb00000000fd00000000000000000000000001000200000000',
  )
  t.equal(encodeSocketAddress('::', 1).bytes, 28)
  t.equal(
    encoded('10.1.2.3', 80, true).toString('hex'),
    '0a0000500000000000000000000000000000ffff0a01020300000000',
  )
})

t.test('what was written is read back in canonical form', async (t) => {
  for (const [ip, canonical] of [
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['0:0:0:0:0:0:0:0', '::'],
  ] as const) {
    t.same(decodeSocketAddress(encoded(ip, 65_535)), { ip: canonical, port: 65_535 }, ip)
  }
  t.equal(decodeSocketAddress(Buffer.alloc(SOCKADDR_BYTES, 1)), null, 'another family')
})

t.test('text is what Node writes for the same bytes', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(65_535), (raw, port) => {
      for (let i = 0; i < 16; i++) if ((raw[i] ?? 0) > 127) raw[i] = 0 // many zeros: runs to shorten
      const bytes = Buffer.from(raw)
      const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16)).join(':')
      const node = new NodeAddress({ family: 'ipv6', address: groups, port })
      const ours = ipv6TextAt(bytes, 0)
      const decoded = decodeSocketAddress(encoded(groups, port))
      return (
        decoded?.ip === ours && (node.address.includes('.') || ours === node.address) && decoded.port === port
      )
    }),
    { numRuns: 500 },
  )
  t.equal(ipv4TextAt(Buffer.of(9, 192, 0, 2, 1), 1), '192.0.2.1')
  t.same([isIpv6('::1'), isIpv6('1.2.3.4')], [true, false])
})
