// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { PacketConnection, pcapngHeader } from '../../../mesh/telemetry/pcapng.ts'
import { readPcapng } from '../../support/read-pcapng.ts'

const [CLIENT, SERVER] = [
  { ip: '10.1.0.1', port: 4000 },
  { ip: '10.2.0.1', port: 80 },
]
const AT_MS = Date.UTC(2026, 0, 1)

t.test('a strict reader finds what each end has sent', async () => {
  const part = fc.tuple(fc.boolean(), fc.string({ unit: 'binary-ascii', maxLength: 40 }))
  fc.assert(
    fc.property(fc.array(part), (parts) => {
      const connection = new PacketConnection(CLIENT, SERVER)
      const sent = { toServer: '', toClient: '' }
      const blocks = [pcapngHeader('shop/cart'), connection.begin(AT_MS)]
      for (const [isToServer, text] of parts) {
        const way = isToServer ? 'toServer' : 'toClient'
        blocks.push(connection.data(AT_MS, isToServer, sent[way].length, Buffer.from(text, 'latin1')))
        sent[way] += text
      }
      blocks.push(connection.end(AT_MS))
      const { flows, interfaceName } = readPcapng(Buffer.concat(blocks))
      return (
        interfaceName === 'shop/cart' &&
        flows.get('10.1.0.1:4000>10.2.0.1:80') === sent.toServer &&
        flows.get('10.2.0.1:80>10.1.0.1:4000') === sent.toClient
      )
    }),
  )
})

t.test('long payload is several segments; mixed families are IPv6; offsets go round at 2^32', async (t) => {
  const long = Buffer.alloc(100_001, 'ab')
  const connection = new PacketConnection({ ip: 'fd00::1', port: 1 }, SERVER)
  const offset = 2 ** 32 - 50_000
  const file = Buffer.concat([
    pcapngHeader('x'),
    connection.data(AT_MS, false, 5, long),
    connection.data(AT_MS, true, offset, Buffer.alloc(10)),
  ])
  const { flows, packetCount, flags } = readPcapng(file)
  t.equal(packetCount, 5)
  t.same(flags, ['P', 'P', 'P', 'P', 'P'])
  t.equal(
    flows.get('00000000000000000000ffff0a020001:80>fd000000000000000000000000000001:1'),
    long.toString('latin1'),
  )
  t.doesNotThrow(() => connection.data(AT_MS, true, 2 ** 40, Buffer.alloc(10)))
  t.doesNotThrow(() => new PacketConnection({ ip: 'cart.shop', port: 80 }, SERVER).begin(AT_MS))
})
