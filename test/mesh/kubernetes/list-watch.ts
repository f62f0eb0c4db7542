// SPDX-License-Identifier: Apache-2.0
// What every list-watch must do is in test/controller/watch/kubernetes.ts; here is what that one never asks for.
import t from 'tap'
import { kubeConfigAccess } from '../../../controller/kubernetes/kube-config.ts'
import { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { ListWatch } from '../../../mesh/kubernetes/list-watch.ts'
import { isMap, mapOf, textOf } from '../../../mesh/kubernetes/raw-map.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { FakeApiserver } from '../../support/fake-apiserver.ts'
import { poll } from '../../support/mesh-lab.ts'

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

t.test('an apiserver that answers again is asked again soon, however long it was away', async (t) => {
  const server = new FakeApiserver()
  await server.listen()
  t.teardown(() => server.close())
  const client = new KubernetesClient(
    kubeConfigAccess(() => server.kubeConfig()),
    systemClock,
  )
  const stopped = new AbortController()
  t.teardown(() => stopped.abort())
  const failures: number[] = []
  const lists: number[] = []
  const watch = new ListWatch<string>(
    {
      ...{ client, clock: systemClock, random: Math.random },
      timing: { idleMs: 60_000, retryMs: 20, maxRetryMs: 600_000 },
    },
    {
      path: () => '/api/v1/pods',
      read: () => '',
      onList: () => void lists.push(failures.length),
      ...{ onPut: () => undefined, onRemove: () => undefined },
      onReachable: (detail, status) => void (detail !== null && failures.push(status)),
      onMissing: (nextDelayMs) => nextDelayMs(),
    },
  )
  await server.close()
  void watch.run(stopped.signal)
  // Waits of 20, 40, … ms: after eight of them the next one is of five seconds.
  await poll('it waits', () => failures.length >= 8 || null)
  const awayCount = failures.length
  await server.listen()
  // What has just come back is not ready to answer everybody.
  let refused = 3
  server.fault = ({ path, response }) => {
    if (path !== '/api/v1/pods' || --refused < 0) return undefined
    response.writeHead(403).end()
    return 'handled'
  }
  const startedMs = performance.now()
  await client.getJson('/api/v1/namespaces', {}, stopped.signal).catch(() => null)
  await poll('it is asked', () => lists.length > 0 || null)
  t.ok(performance.now() - startedMs < 4_000, `${performance.now() - startedMs} ms`)
  t.same(failures.slice(awayCount), [403, 403, 403])
})
