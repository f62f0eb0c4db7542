// SPDX-License-Identifier: Apache-2.0
// Whom NetworkPolicies select is in the golden file `same-node`; here: what follows when they come and go.
import t from 'tap'
import { Translator } from '../../../controller/translate/translate.ts'
import type { Translation } from '../../../controller/translate/translation.ts'
import type { ConfigObject } from '../../../controller/watch/config-object.ts'
import { SETTINGS } from '../../support/translated.ts'
import { toObject, viewOf } from '../../support/yaml-objects.ts'

const PODS = 200
const pod = (index: number, namespace: string): ConfigObject =>
  toObject({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `p${index}`,
      namespace,
      labels: { app: `app${index}`, 'sidestep.dev/mode': 'ambient' },
      annotations: { 'sidestep.dev/same-node': 'direct' },
    },
    status: { podIP: namespace === 'shop' ? `10.0.0.${index}` : `10.0.1.${index}` },
  })
const policy = (name: string, podSelector: object): ConfigObject =>
  toObject({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: 'shop' },
    spec: { podSelector },
  })

/** Who may skip the tunnel. */
const directOf = ({ workloads }: Translation): string[] =>
  [...workloads.values()]
    .filter(({ extensions }) => extensions.length > 0)
    .map(({ name, namespace }) => `${namespace}/${name}`)

t.test('a NetworkPolicy changes the pods that it selects, and no others', async (t) => {
  const pods = Array.from({ length: PODS }, (_, index) => [pod(index, 'shop'), pod(index, 'other')]).flat()
  const translator = new Translator(SETTINGS)
  const before = translator.translate(viewOf(pods))
  t.equal(directOf(before).length, 2 * PODS)
  const guarded = translator.translate(viewOf([...pods, policy('one', { matchLabels: { app: 'app7' } })]))
  t.notOk(directOf(guarded).includes('shop/p7'))
  const changed = [...guarded.workloads].filter(([uid, each]) => before.workloads.get(uid) !== each)
  t.same(
    changed.map(([uid]) => uid),
    ['Kubernetes//Pod/shop/p7'],
  )
  const walled = translator.translate(viewOf([...pods, policy('all', {})]))
  t.same(
    directOf(walled).filter((each) => each.startsWith('shop/')),
    [],
  )
  t.equal(directOf(walled).length, PODS, 'its namespace is its own')
  t.same(directOf(translator.translate(viewOf(pods))), directOf(before))
})

t.test('what decides is found by label, among thousands of policies', async (t) => {
  const many = Array.from({ length: 5000 }, (_, index) =>
    policy(`np${index}`, { matchLabels: { app: `x${index}` } }),
  )
  const pods = Array.from({ length: PODS }, (_, index) => pod(index, 'shop'))
  const view = viewOf([
    ...pods,
    ...many,
    policy('last', { matchLabels: { app: 'app3', 'sidestep.dev/mode': 'ambient' } }),
  ])
  const translation = new Translator(SETTINGS).translate(view)
  t.equal(directOf(translation).length, PODS - 1)
  const [finding] = translation.findings
  t.match(finding, { code: 'SAME_NODE_IGNORED', object: { name: 'p3' }, message: /"last"/ })
})
