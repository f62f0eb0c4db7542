// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { pino } from 'pino'
import t from 'tap'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { NETLINK_NETFILTER, NetlinkConnection } from '../../mesh/reactor/netlink/connection.ts'
import { readTable, withoutState } from '../../mesh/reactor/netlink/nf-tables.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { peerAddress } from '../../mesh/reactor/socket-options.ts'
import { ProbeRules, probeTable } from '../../ztunnel/supervisor/enroll/probe-rules.ts'
import {
  applyRedirectRules,
  PROBE_IP,
  PROBE_IP6,
  redirectRules,
} from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { acceptFrom, connectFrom, createLab, listenIn } from '../support/lab.ts'

const SPEC = {
  nodes: [
    { name: 'n1', pods: [{ name: 'a', ip: '10.1.0.2', ip6: 'fd00:1::2' }] },
    { name: 'n2', pods: [{ name: 'b', ip: '10.2.0.2', ip6: 'fd00:2::2' }] },
  ],
}
const POD_B = ['10.2.0.2', 'fd00:2::2']
const textIn = (namespace: NetworkNamespace, command: string, input = ''): string =>
  namespace.run(() => execFileSync('sh', ['-c', command], { encoding: 'utf8', input }))

// In nft's own words, from the table of the specification.
const NFT_WORDS = `
table inet sidestep-probes {
  set pods-v4 { type ipv4_addr; elements = { 10.1.0.9, 10.2.0.2 } }
  set pods-v6 { type ipv6_addr; elements = { fd00:2::2 } }
  chain postrouting { type nat hook postrouting priority 100; policy accept;
    ip daddr @pods-v4 meta l4proto tcp meta skuid 0 counter snat ip to 169.254.7.127
    ip6 daddr @pods-v6 meta l4proto tcp meta skuid 0 counter snat ip6 to fd16:9254:7127:1337:ffff:ffff:ffff:ffff
  }
}
`

function nftView(namespace: NetworkNamespace): unknown {
  return JSON.parse(textIn(namespace, 'nft -j list ruleset'), (key, value: unknown) =>
    ['handle', 'packets', 'bytes', 'metainfo'].includes(key) ? undefined : value,
  )
}

t.test('nft shows the rules of the specification, and the kernel gives back what was written', async (t) => {
  const lab = createLab(t, SPEC)
  const [n1, n2] = [lab.node('n1').namespace, lab.node('n2').namespace]
  const rules = new ProbeRules(n1.path, pino({ level: 'silent' }))
  rules.set('b', POD_B)
  rules.set('x', ['10.1.0.9', 'garbage'])
  textIn(n2, 'nft -f -', NFT_WORDS)
  t.same(nftView(n1), nftView(n2))
  const read = () =>
    NetlinkConnection.use(NETLINK_NETFILTER, n1, (connection) =>
      readTable(connection, { family: 'inet', name: 'sidestep-probes' }),
    )
  const table = read()
  t.strictSame(table && withoutState(table), probeTable(['10.1.0.9', ...POD_B]))
  textIn(n1, 'nft flush set inet sidestep-probes pods-v4')
  rules.sync()
  t.same(nftView(n1), nftView(n2), 'what was damaged is mended')
  rules.remove('x')
  t.notMatch(textIn(n1, 'nft list ruleset'), '10.1.0.9')
  rules.remove('b')
  t.equal(textIn(n1, 'nft list ruleset'), '', 'with the last pod everything goes')
  rules.set('b', POD_B)
  rules.close()
  t.equal(textIn(n1, 'nft list ruleset'), '')
})

t.test('a thousand pods fit', async (t) => {
  const { namespace } = createLab(t, SPEC).node('n1')
  const rules = new ProbeRules(namespace.path, pino({ level: 'silent' }))
  const ips = Array.from({ length: 2_500 }, (_, index) => `fd00::${(index + 1).toString(16)}`)
  rules.set('all', ips)
  t.equal(textIn(namespace, 'nft list ruleset').match(/fd00::/g)?.length, 2_500)
})

t.test('what the node opens to an enrolled pod passes as a probe; what it forwards does not', async (t) => {
  const lab = createLab(t, SPEC)
  const [a, b, n2] = [lab.pod('a').namespace, lab.pod('b').namespace, lab.node('n2').namespace]
  applyRedirectRules(b, redirectRules())
  const app = listenIn(b, 8080)
  const mesh = listenIn(b, 15_006)
  const peerOf = (from: NetworkNamespace, ip: string, listener: number): string | undefined => {
    const client = connectFrom(from, ip, 8080)
    const accepted = acceptFrom(listener)
    const peer = peerAddress(accepted)?.ip
    for (const fd of [client, accepted]) close(fd)
    return peer
  }
  t.not(peerOf(n2, '10.2.0.2', mesh), PROBE_IP, 'without the rules the mesh gets the probe')
  const rules = new ProbeRules(n2.path, pino({ level: 'silent' }))
  rules.set('b', POD_B)
  t.equal(peerOf(n2, '10.2.0.2', app), PROBE_IP)
  t.equal(peerOf(n2, 'fd00:2::2', app), PROBE_IP6)
  t.equal(peerOf(a, '10.2.0.2', mesh), '10.1.0.2')
  t.equal(peerOf(a, 'fd00:2::2', mesh), 'fd00:1::2')
  for (const fd of [app, mesh]) close(fd)
})

t.test('a namespace that is not there harms nobody', async (t) => {
  const rules = new ProbeRules('/run/netns/none', pino({ level: 'silent' }))
  rules.set('a', POD_B)
  rules.close()
  t.pass('no throw')
})
