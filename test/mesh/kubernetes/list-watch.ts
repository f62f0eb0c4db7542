// SPDX-License-Identifier: Apache-2.0
// What every list-watch must do is in test/controller/watch/kubernetes.ts; here is what that one never asks for.
import t from 'tap'
import { kubeConfigAccess } from '../../../controller/kubernetes/kube-config.ts'
import { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { ListWatch } from '../../../mesh/kubernetes/list-watch.ts'
import { isMap, mapOf, textOf } from '../../../mesh/kubernetes/raw-map.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { FakeApiserver } from '../../support/fake-apiserver.ts'

const TIMING = { idleMs: 60_000, retryMs: 10, maxRetryMs: 50 }

t.test('lists and watches ask for the selected objects only, and end with the signal', async (t) => {
  const server = new FakeApiserver()
  await server.listen()
  t.teardown(() => server.close())
  const client = new KubernetesClient(
    kubeConfigAccess(() => server.kubeConfig()),
    systemClock,
  )
  const told: string[] = []
  const { promise: isListed, resolve } = Promise.withResolvers<void>()
  const options = { client, clock: systemClock, timing: TIMING, random: Math.random }
  const stopped = new AbortController()
  const watch = new ListWatch<string>(
    { ...options, fieldSelector: 'spec.nodeName=node1' },
    {
      path: () => '/api/v1/pods',
      read: (object) => (isMap(object) ? textOf(mapOf(object, 'metadata'), 'name') : ''),
      onList: (names) => {
        told.push(`all ${names}`)
        resolve()
      },
      onPut: (name) => {
        told.push(`put ${name}`)
        if (name === 'c') stopped.abort()
      },
      onRemove: (name) => void told.push(`gone ${name}`),
      onReachable: () => undefined,
      onMissing: (nextDelayMs) => nextDelayMs(),
    },
  )
  const pod = (name: string) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop' },
  })
  server.put(pod('a'))
  const running = watch.run(stopped.signal)
  await isListed
  server.put(pod('b'))
  server.delete(pod('a'))
  server.put(pod('c'))
  await running
  t.same(told, ['all a', 'put b', 'gone a', 'put c'])
  t.ok(server.requests.length >= 2)
  for (const request of server.requests) t.match(request, 'fieldSelector=spec.nodeName%3Dnode1')
})
