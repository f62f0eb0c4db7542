// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { podListeners } from '../../../ztunnel/decide/pod-listeners.ts'

const HOST = 'shop/cart.shop.svc.cluster.local'
const expected = {
  mesh: new Map([
    ['outbound', 15_001],
    ['dns-tcp', 15_053],
    ['dns-tcp6', 15_053],
  ]),
  services: { [HOST]: { 80: 8080, 81: 8080, 443: 8443 } },
  isShared: false,
}
const socket = (ip: string, port: number, waitingCount = 0) => ({ ip, port, waitingCount })

t.test('mesh ports, service ports and others, each with its state', async (t) => {
  const found = podListeners(
    [
      ...[socket('0.0.0.0', 8080, 2), socket('::', 8080, 1), socket('127.0.0.1', 15_053)],
      ...[socket('127.0.0.1', 8443), socket('::1', 8443), socket('10.2.0.1', 7)],
    ],
    expected,
  )
  const none = { addresses: [], names: [], waitingCount: 0 }
  t.strictSame(
    found.map((each) => JSON.stringify(each)),
    [
      { port: 15_001, owner: 'mesh', names: ['outbound'], addresses: [], state: 'silent', waitingCount: 0 },
      {
        ...{ port: 15_053, owner: 'mesh', names: ['dns-tcp', 'dns-tcp6'], addresses: ['127.0.0.1'] },
        ...{ state: 'listens', waitingCount: 0 },
      },
      { port: 7, owner: 'application', ...none, addresses: ['10.2.0.1'], state: 'listens' },
      {
        ...{ port: 8080, owner: 'application', names: [`${HOST}:80`, `${HOST}:81`] },
        ...{ addresses: ['0.0.0.0', '::'], state: 'listens', waitingCount: 3 },
      },
      {
        ...{ port: 8443, owner: 'application', names: [`${HOST}:443`] },
        ...{ addresses: ['127.0.0.1', '::1'], state: 'loopback-only', waitingCount: 0 },
      },
    ].map(({ port, owner, names, addresses, state, waitingCount }) =>
      JSON.stringify({ port, owner, names, addresses, state, waitingCount }),
    ),
  )
})

t.test('in a namespace that is the node’s too, only what is expected is told', async (t) => {
  const found = podListeners([socket('0.0.0.0', 22), socket('0.0.0.0', 8080)], {
    ...expected,
    isShared: true,
  })
  t.same(
    found.map(({ port, state }) => [port, state]),
    [
      [15_001, 'silent'],
      [15_053, 'silent'],
      [8080, 'listens'],
      [8443, 'silent'],
    ],
  )
})

t.test('a pod that listens everywhere is told in part', async (t) => {
  const many = Array.from({ length: 65_535 }, (_, index) => socket('0.0.0.0', index + 1))
  const found = podListeners(many, expected)
  t.equal(found.length, 200)
  t.equal(found[0]?.owner, 'mesh')
})
