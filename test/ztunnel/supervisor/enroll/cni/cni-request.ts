// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../../../../mesh/errors/refusal.ts'
import { namespacePath, parseCniRequest } from '../../../../../ztunnel/supervisor/enroll/cni/cni-request.ts'

const UID = '0a1b2c3d-0000-4000-8000-0123456789ab'
const NETNS = '/var/run/netns/cni-0a1b2c3d-1111-2222-3333-0123456789ab'
const args = (fields: Readonly<Record<string, string>> = {}): string =>
  Object.entries({
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: 'shop',
    K8S_POD_NAME: 'cart-0',
    K8S_POD_INFRA_CONTAINER_ID: 'ffff',
    K8S_POD_UID: UID,
    ...fields,
  })
    .map(([key, value]) => `${key}=${value}`)
    .join(';')
const textOf = (netns = NETNS, given = args()): string => `netns=${netns}\nargs=${given}\n`

t.test('what runtimes write is read', async (t) => {
  t.same(parseCniRequest(textOf()), {
    pod: { namespace: 'shop', name: 'cart-0', uid: UID },
    netns: NETNS,
  })
})

t.test('a uid that is not the apiserver’s is none', async (t) => {
  for (const uid of ['', 'f'.repeat(32)])
    t.match(parseCniRequest(textOf(NETNS, args({ K8S_POD_UID: uid }))), { pod: { uid: null } }, uid)
})

t.test('what names no pod and no namespace is refused', async (t) => {
  const bad = [
    '',
    textOf().trimEnd(),
    `${textOf()}more\n`,
    textOf(''),
    textOf('/run/netns/../../etc/shadow'),
    textOf('/run/netns/.hidden'),
    textOf('/run/netns/a/b'),
    textOf(`/run/netns/${'a'.repeat(129)}`),
    textOf('/proc/0/ns/net'),
    textOf('/proc/self/ns/net'),
    textOf('/proc/1/ns/mnt'),
    textOf('run/netns/a'),
    textOf(NETNS, ''),
    textOf(NETNS, args({ K8S_POD_NAME: '' })),
    textOf(NETNS, args({ K8S_POD_NAME: '../x' })),
    textOf(NETNS, args({ K8S_POD_NAME: 'a'.repeat(254) })),
    textOf(NETNS, args({ K8S_POD_NAMESPACE: 'shop/x' })),
    textOf(NETNS, args({ K8S_POD_UID: UID.toUpperCase() })),
    textOf(NETNS, args({ K8S_POD_UID: `${UID}0` })),
    textOf(NETNS, `${args()};K8S_POD_NAME=other`),
  ]
  for (const text of bad)
    t.match(parseCniRequest(text), { code: 'CNI_REQUEST_INVALID' }, JSON.stringify(text))
})

t.test('a namespace is seen through the first process of the node, never by our own files', async (t) => {
  const seen: readonly (readonly [string, string])[] = [
    ['/var/run/netns/a', '/host/proc/1/root/run/netns/a'],
    ['/run/netns/a', '/host/proc/1/root/run/netns/a'],
    ['/var/run/docker/netns/a', '/host/proc/1/root/run/docker/netns/a'],
    ['/proc/77/ns/net', '/host/proc/77/ns/net'],
  ]
  for (const [netns, path] of seen) t.equal(namespacePath(netns, '/host/proc'), path)
})

t.test('whatever stands there: a pod with names, or a refusal', async () => {
  const piece = fc.constantFrom(
    'netns=',
    NETNS,
    '\n',
    'args=',
    'K8S_POD_NAME=',
    'a',
    ';',
    '=',
    '/',
    '..',
    UID,
    '\0',
    'K8S_POD_UID=',
    'K8S_POD_NAMESPACE=',
  )
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join('')),
  )
  fc.assert(
    fc.property(text, (given) => {
      const request = parseCniRequest(given)
      if (isRefusal(request)) return request.code === 'CNI_REQUEST_INVALID'
      const { pod, netns } = request
      const isPlain = [pod.name, pod.namespace].every((name) => /^[a-z0-9.-]{1,253}$/.test(name))
      return isPlain && !namespacePath(netns, '/proc').includes('..')
    }),
    { numRuns: 3_000 },
  )
})
