// SPDX-License-Identifier: Apache-2.0
// What people are told of pairs of one node; that the node does it so is tried in test/netns/ztunnel-same-node.ts.
import t from 'tap'
import { outboundFacts } from '../../../ztunnel/decide/outbound-facts.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { NOW_MS, nodeView, shopCertificates, shopMesh } from '../../support/node-views.ts'

const STRICT =
  '- {name: istio_converted_static_strict, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{notPrincipals: [!Presence []]}]]]}'

const direct = (text: string, names: readonly string[]): string =>
  names.reduce((all, name) => all.replace(`uid: ${name},`, `uid: ${name}, sameNode: direct,`), text)

t.test('a pair of one node hears whether it takes the tunnel, and why', async (t) => {
  const certificates = await shopCertificates(await TestAuthority.create(NOW_MS))
  const withoutBatch = new Map([...certificates].filter(([identity]) => !identity.endsWith('batch-sa')))
  const both = ['front', 'batch']
  for (const [mesh, known, isLocal, text] of [
    [direct(shopMesh(), both), certificates, true, /joined there without the tunnel \(LOCAL\)/],
    [direct(shopMesh(), ['front']), certificates, false, /shop\/batch is not marked .*NetworkPolicy/],
    [direct(shopMesh(), ['batch']), certificates, false, /shop\/front is not marked/],
    [direct(shopMesh({ policies: STRICT }), both), certificates, false, /shop\/front is strict/],
    [direct(shopMesh(), both), withoutBatch, false, /shop\/batch has no valid certificate/],
  ] as const) {
    const view = nodeView('n1', mesh, { certificateOf: (identity) => known.get(identity) })
    const [way] = outboundFacts(view, { source: 'front', destination: '10.1.0.2', port: 8080 }).ways
    t.equal(way?.isLocal, isLocal, String(text))
    t.match(way?.text, text)
  }
})

t.test('a way that leaves the node says nothing of it', async (t) => {
  const view = nodeView('n1', direct(shopMesh(), ['front', 'cart']))
  const [way] = outboundFacts(view, { source: 'front', destination: 'cart', port: 80 }).ways
  t.match(way, { kind: 'hbone', isLocal: false })
  t.notMatch(way?.text, /inside the node/)
})
