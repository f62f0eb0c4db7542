// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import t from 'tap'
import { parseListeningSockets, readListeningSockets } from '../../../mesh/reactor/listening-sockets.ts'

const HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'
const line = (local: string, state = '0A', waiting = '00000000'): string =>
  `   0: ${local} 00000000:0000 ${state} 00000000:${waiting} 00:00000000 00000000     0        0 637 1 0 100 0 0 10 0`

t.test('the kernel’s own table has a server, and nobody after it closed', async (t) => {
  const server = createServer().listen({ host: '127.0.0.1', port: 0 })
  const server6 = createServer().listen({ host: '::1', port: 0 })
  await Promise.all([once(server, 'listening'), once(server6, 'listening')])
  const [port, port6] = [server, server6].map((each) => (each.address() as AddressInfo).port) // as: TCP
  const client = connect(Number(port), '127.0.0.1')
  await once(client, 'connect')
  const found = readListeningSockets()
  t.match(
    found.find((each) => each.port === port),
    { ip: '127.0.0.1' },
  )
  t.match(
    found.find((each) => each.port === port6),
    { ip: '::1' },
  )
  client.destroy()
  const closed = [once(server, 'close'), once(server6, 'close')]
  server.close()
  server6.close()
  await Promise.all(closed)
  t.notOk(readListeningSockets().some((each) => each.port === port || each.port === port6))
})

t.test('what waits to be accepted is a number; what follows the listening ones is not read', async (t) => {
  // Words are in the order of the machine that the tests run on: little-endian.
  const text = [
    HEAD,
    line('0100007F:1F90', '0A', '0000000B'),
    line('0000000000000000FFFF00000100000A:0050'),
    line('0100007F:9999', '01'),
    line('0100007F:0051'),
  ].join('\n')
  t.same(parseListeningSockets(text), [
    { ip: '127.0.0.1', port: 8080, waitingCount: 11 },
    { ip: '10.0.0.1', port: 80, waitingCount: 0 },
  ])
})

t.test('a text that is cut or is something else gives what could be read', async (t) => {
  const whole = `${HEAD}\n${line('0100007F:1F90')}`
  for (let length = 0; length < whole.length; length++)
    t.ok(parseListeningSockets(whole.slice(0, length)).length <= 1)
  t.same(parseListeningSockets(''), [])
  t.same(parseListeningSockets(`${HEAD}\n${line('xx:yy')}\n${line('0100007F:1F90')}`), [])
})
