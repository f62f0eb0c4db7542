// SPDX-License-Identifier: Apache-2.0
// What is read of a packet; that packets come: test/netns/strict-guard.ts.
import fc from 'fast-check'
import t from 'tap'
import { parseTcpEnds } from '../../../../mesh/reactor/netlink/packet-log.ts'

const PORTS = Buffer.from('9c401f90', 'hex') // 40000 → 8080
function ipv4(options = 0, protocol = 6): Buffer {
  const header = Buffer.alloc(20 + options * 4)
  header[0] = 0x40 | (5 + options)
  header[9] = protocol
  header.set([10, 0, 0, 1, 10, 0, 0, 2], 12)
  return Buffer.concat([header, PORTS])
}
function ipv6(nextHeader = 6): Buffer {
  const header = Buffer.alloc(40)
  header[0] = 0x60
  header[6] = nextHeader
  header.set([0xfd, 0], 8)
  header.set([1, 0xfd, 0], 23)
  header[39] = 2
  return Buffer.concat([header, PORTS])
}

t.test('both ends of a TCP packet are read, of either family', async (t) => {
  const v4 = { source: { ip: '10.0.0.1', port: 40_000 }, destination: { ip: '10.0.0.2', port: 8080 } }
  t.same(parseTcpEnds(ipv4()), v4)
  t.same(parseTcpEnds(ipv4(10)), v4, 'with all options there may be')
  const v6 = { source: { ip: 'fd00::1', port: 40_000 }, destination: { ip: 'fd00::2', port: 8080 } }
  t.same(parseTcpEnds(ipv6()), v6)
})

t.test('what is no TCP packet, or cut, is none', async (t) => {
  t.equal(parseTcpEnds(ipv4(0, 17)), null)
  t.equal(parseTcpEnds(ipv6(0)), null)
  t.equal(parseTcpEnds(Buffer.of()), null)
  for (const whole of [ipv4(), ipv4(3), ipv6()])
    for (let length = 0; length < whole.length; length++)
      t.equal(parseTcpEnds(whole.subarray(0, length)), null, `${length} bytes`)
  const short = ipv4()
  short[0] = 0x44
  t.equal(parseTcpEnds(short), null, 'a header shorter than headers are')
})

t.test('nothing that comes makes it throw', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
      const ends = parseTcpEnds(bytes)
      return ends === null || (ends.source.port <= 65_535 && ends.destination.ip !== '')
    }),
  )
  t.pass('never')
})
