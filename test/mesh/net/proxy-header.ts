// SPDX-License-Identifier: Apache-2.0
// The bytes as the specification's text gives them, and read back by a reader that was written from it apart.
import fc from 'fast-check'
import t from 'tap'
import { formatProxyHeader } from '../../../mesh/net/proxy-header.ts'
import { readProxyHeader } from '../../support/proxy-header-reader.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const SIGNATURE = '0d0a0d0a000d0a515549540a'

t.test('the bytes of each family', async (t) => {
  const [source, destination] = [
    { ip: '10.1.0.1', port: 40_000 },
    { ip: '10.96.0.10', port: 80 },
  ]
  t.equal(hex(formatProxyHeader(source, destination, '')), `${SIGNATURE}2111000c0a0100010a60000a9c400050`)
  t.equal(
    hex(formatProxyHeader(source, destination, 'spiffe://a')),
    `${SIGNATURE}211100190a0100010a60000a9c400050d0000a${Buffer.from('spiffe://a').toString('hex')}`,
  )
  const six = { ip: 'fd00::1', port: 1 }
  t.equal(
    hex(formatProxyHeader(six, { ip: 'fd00::2', port: 2 }, '')),
    `${SIGNATURE}21210024fd000000000000000000000000000001fd00000000000000000000000000000200010002`,
  )
  t.equal(hex(formatProxyHeader(six, destination, '')), `${SIGNATURE}21010000`, 'no form for two families')
})

t.test('whatever it says is read back', async (t) => {
  const address = (ip: fc.Arbitrary<string>) => fc.record({ ip, port: fc.integer({ min: 0, max: 65_535 }) })
  const four = address(
    fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)).map((each) => each.join('.')),
  )
  fc.assert(
    fc.property(
      four,
      four,
      fc.string({ unit: 'grapheme', maxLength: 300 }),
      (source, destination, identity) => {
        const header = formatProxyHeader(source, destination, identity)
        t.same(readProxyHeader(Buffer.concat([header, Buffer.from('rest')])), {
          ...{ source, destination, identity, length: header.length },
        })
      },
    ),
    { numRuns: 50 },
  )
  const long = readProxyHeader(
    formatProxyHeader({ ip: '1.2.3.4', port: 5 }, { ip: '1.2.3.4', port: 6 }, 'a'.repeat(70_000)),
  )
  t.equal(long?.identity?.length, 2_048, 'bounded, whatever a certificate says')
})
