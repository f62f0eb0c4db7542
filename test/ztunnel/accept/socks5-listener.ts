// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { parseSocksRequest } from '../../../ztunnel/accept/socks5-listener.ts'
import { poll } from '../../support/mesh-lab.ts'
import { ADDRESS, GREETING, WorkerLab } from '../../support/worker-lab.ts'

const PORT = [0x1f, 0x90] // 8080
const name = (text: string): number[] => [text.length, ...Buffer.from(text, 'latin1')]
const request = (...bytes: number[]): Buffer => Buffer.from([5, 1, 0, ...bytes])

t.test('requests name an address or a host', async (t) => {
  for (const [bytes, host] of [
    [request(1, 10, 0, 0, 1, ...PORT), '10.0.0.1'],
    [request(4, 0xfd, ...Array.from({ length: 14 }, () => 0), 1, ...PORT), 'fd00::1'],
    [request(4, ...Array.from({ length: 10 }, () => 0), 255, 255, 10, 0, 0, 1, ...PORT), '10.0.0.1'],
    [request(3, ...name('Cart.Shop'), ...PORT), 'cart.shop'],
    [request(3, ...name('10.0.0.1'), ...PORT), '10.0.0.1'],
    [request(3, ...name('FD00::1'), ...PORT), 'fd00::1'],
    [request(3, ...name('x'.repeat(255)), ...PORT), 'x'.repeat(255)],
  ] as const) {
    t.same(parseSocksRequest(bytes), { kind: 'request', host, port: 8080, length: bytes.length })
    for (let length = 0; length < bytes.length; length++)
      t.equal(parseSocksRequest(bytes.subarray(0, length)), 'more', 'every part of it is waited for')
    t.match(parseSocksRequest(Buffer.concat([bytes, Buffer.from('GET')])), { length: bytes.length })
  }
})

t.test('what is no request is refused', async (t) => {
  for (const [bytes, detail] of [
    [Buffer.from([4, 1, 0, 1, 10, 0, 0, 1, ...PORT]), 'version 4'],
    [Buffer.from('GET / HTTP/1.1\r\n'), 'version 71'],
    [Buffer.from([5, 2, 0, 1, 10, 0, 0, 1, ...PORT]), 'command 2'],
    [request(2, 10, 0, 0, 1, ...PORT), 'address type 2'],
    [request(3, ...name(''), ...PORT), 'host name'],
    [request(3, ...name('a b'), ...PORT), 'host name'],
    [request(3, ...name('a\n'), ...PORT), 'host name'],
    [request(3, ...name('ä.de'), ...PORT), 'host name'],
  ] as const)
    t.match(parseSocksRequest(bytes), { kind: 'refusal', code: 'SOCKS_PROTOCOL', detail })
})

/** A client that has asked for a host; the workers wait for the main thread to tell its address. */
async function askForHost(lab: WorkerLab, host: string): Promise<{ socket: Socket; worker: number }> {
  const socket = connect(15_080, ADDRESS)
  socket.on('error', () => {})
  socket.write(GREETING)
  await once(socket, 'data')
  socket.write(request(3, ...name(host), ...PORT))
  const asked = await poll(
    'asked',
    () => lab.heard.find(({ message }) => message.type === 'resolve-host' && message.host === host) ?? null,
  )
  return { socket, worker: asked.worker }
}

t.test('a client gets its answer in the words of the protocol', async (t) => {
  const lab = new WorkerLab(t)
  lab.set.start()
  await lab.serving()
  for (const [host, ip, reply] of [
    ['none.example', null, 4],
    ['some.example', '10.0.0.1', 1], // the pod is not configured
  ] as const) {
    const { socket, worker } = await askForHost(lab, host)
    const answered = once(socket, 'data')
    lab.set.post(worker, { type: 'host', uid: 'u', host, ip })
    const [bytes] = (await answered) as [Buffer] // as: what the event carries
    t.same([...bytes.subarray(0, 2)], [5, reply], host)
    socket.destroy()
  }
})

t.test('a client that is gone when its host is known leaves nothing behind but its record', async (t) => {
  const lab = new WorkerLab(t)
  lab.set.start()
  await lab.serving()
  const { socket, worker } = await askForHost(lab, 'late.example')
  socket.resetAndDestroy()
  await poll('recorded', () => lab.failures === 1 || null, 3000).catch(() => t.fail('no record'))
  lab.set.post(worker, { type: 'host', uid: 'u', host: 'late.example', ip: '10.0.0.1' })
  lab.set.post(worker, { type: 'report', what: 'connections', request: 1 })
  await poll('an answer', () => lab.count('report') > 0 || null)
  t.equal(lab.count('resolve'), 0, 'nothing is begun for it')
  t.equal(lab.failures, 1)
})
