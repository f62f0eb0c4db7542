// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { labelOf, nodeLocality, parseLocality } from '../../../controller/translate/locality.ts'
import { toObject } from '../../support/yaml-objects.ts'

const node = (labels: Record<string, string>) =>
  toObject({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', labels } })

t.test('a node says where it is by its labels, old ones too', async (t) => {
  const region = 'topology.kubernetes.io/region'
  const zone = 'topology.kubernetes.io/zone'
  t.equal(nodeLocality(node({ [region]: 'eu', [zone]: 'a', 'topology.istio.io/subzone': 's' })), 'eu/a/s')
  t.equal(nodeLocality(node({ [region]: 'eu' })), 'eu')
  t.equal(nodeLocality(node({ [zone]: 'a' })), '/a')
  t.equal(nodeLocality(node({ 'failure-domain.beta.kubernetes.io/zone': 'old' })), '/old')
  t.equal(nodeLocality(node({ [region]: 'a/b', [zone]: 'c' })), 'a_b/c', 'a slash moves no part')
  t.equal(nodeLocality(node({})), '')
  t.equal(nodeLocality(undefined), '')
})

t.test('a text has three parts, and none is no locality', async (t) => {
  t.same(parseLocality('eu/a/s'), { region: 'eu', zone: 'a', subzone: 's' })
  t.same(parseLocality('/a'), { region: '', zone: 'a', subzone: '' })
  t.same(parseLocality('eu/a/s/more'), { region: 'eu', zone: 'a', subzone: 's' })
  for (const none of ['', '/', '//']) t.equal(parseLocality(none), undefined)
})

t.test('the first label that is set counts, and a long one is cut', async (t) => {
  t.equal(labelOf({ b: '2', c: '3' }, ['a', 'b', 'c']), '2')
  t.equal(labelOf({ a: '', b: 5 }, ['a', 'b']), '')
  t.equal(labelOf({ a: 'x'.repeat(1000) }, ['a']).length, 253)
})
