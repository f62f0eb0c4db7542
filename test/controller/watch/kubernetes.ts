// SPDX-License-Identifier: Apache-2.0
// What only an apiserver does: versions that are too old, kinds that are not there, refusals of every sort. What every
// source must do is in test/contract/config-source.ts.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { kubeConfigAccess } from '../../../controller/kubernetes/kube-config.ts'
import { WATCHED_KINDS } from '../../../controller/watch/kinds.ts'
import { KubernetesSource } from '../../../controller/watch/kubernetes.ts'
import type { KindTiming } from '../../../controller/watch/kubernetes-kind.ts'
import { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { policyValue, serviceValue } from '../../support/config-objects.ts'
import { FakeApiserver, sendStatus } from '../../support/fake-apiserver.ts'
import { RecordingSink } from '../../support/recording-sink.ts'

interface LabOptions {
  readonly missing?: readonly string[]
  readonly timing?: Partial<KindTiming>
  readonly requestTimeoutMs?: number
  readonly tokenFile?: string
}

async function openLab(t: Test, { missing, timing, requestTimeoutMs = 5_000, tokenFile }: LabOptions = {}) {
  const server = new FakeApiserver(missing)
  await server.listen()
  const client = new KubernetesClient(
    kubeConfigAccess(() => server.kubeConfig(tokenFile)),
    systemClock,
    { requestTimeoutMs },
  )
  const short = { retryMs: 20, maxRetryMs: 100, idleMs: 60_000, missingPollMs: 50, ...timing }
  const source = new KubernetesSource({ client, clock: systemClock, random: Math.random, timing: short })
  const sink = new RecordingSink()
  t.teardown(async () => {
    await source.stop()
    await server.close()
  })
  const start = async (): Promise<void> => {
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
  }
  const requests = (part: string): string[] => server.requests.filter((each) => each.includes(part))
  return { server, source, sink, start, requests }
}

const isWatching = (server: FakeApiserver) => async (sink: RecordingSink) => {
  while (server.watchCount < WATCHED_KINDS.length) await new Promise((resolve) => setTimeout(resolve, 5))
  return sink
}

t.test('the last good version says which newer one could not be read, until one can', async (t) => {
  const { server, sink, start } = await openLab(t)
  const put = (generation: number, action: string): void => {
    const value = policyValue('p', { action })
    server.put({ ...value, metadata: { name: 'p', namespace: 'shop', generation } })
  }
  const policy = () => sink.object('AuthorizationPolicy', 'shop', 'p')
  put(1, 'DENY')
  await start()
  const good = policy()
  t.equal(good?.unread, undefined)
  put(2, 'DENNY')
  await sink.until('it is told', () => policy()?.unread !== undefined)
  t.match(policy()?.unread, { generation: 2, why: /spec\.action/ })
  t.equal(policy()?.spec, good?.spec)
  const held = policy()
  put(2, 'DENNY')
  put(3, 'DENNIE')
  await sink.until('the next is told', () => policy()?.unread?.generation === 3)
  t.equal(policy()?.metadata.generation, 1)
  t.equal(
    sink.calls.filter((call) => /^apply .*AuthorizationPolicy\/shop\/p$/.test(call)).length,
    2,
    'once each',
  )
  t.not(policy(), held)
  put(4, 'ALLOW')
  await sink.until('it is mended', () => policy()?.metadata.generation === 4)
  t.equal(policy()?.unread, undefined)
})

t.test('a list comes in pages', async (t) => {
  const { server, sink, start, requests } = await openLab(t)
  server.pageSize = 3
  for (let index = 0; index < 10; index++) server.put(serviceValue(`s${index}`))
  await start()
  t.equal(sink.names('Service').length, 10)
  const lists = requests('/api/v1/services?').filter((each) => !each.includes('watch'))
  t.equal(lists.length, 4)
  t.ok(lists.every((each) => each.includes('limit=500')))
  t.match(sink.calls.filter((call) => call.startsWith('replace Service ')).join(), 'replace Service 10')
})

t.test('pages that are too old are begun again, at last without pages', async (t) => {
  const { server, sink, start, requests } = await openLab(t)
  server.pageSize = 2
  for (let index = 0; index < 5; index++) server.put(serviceValue(`s${index}`))
  server.fault = ({ path, query }) => {
    // Every page is too old by the time it is asked for.
    if (path === '/api/v1/services' && query.has('continue')) server.compact()
    if (path === '/api/v1/services' && query.size === 0) server.pageSize = Number.POSITIVE_INFINITY
    return undefined
  }
  await start()
  t.equal(sink.names('Service').length, 5)
  t.ok(requests('/api/v1/services').length >= 7)
  t.equal(sink.unreachable, null)
})

t.test('a watch that was cut is resumed where it was, without a list', async (t) => {
  const { server, sink, start, requests } = await openLab(t)
  server.put(serviceValue('a'))
  await start()
  await isWatching(server)(sink)
  server.put(serviceValue('b'))
  await sink.until('b', () => sink.object('Service', 'shop', 'b') !== undefined)
  const before = sink.object('Service', 'shop', 'b')?.metadata.resourceVersion
  const lists = requests('/api/v1/services?limit').length
  server.cutWatches()
  server.put(serviceValue('c'))
  await sink.until('c', () => sink.object('Service', 'shop', 'c') !== undefined)
  t.equal(requests('/api/v1/services?limit').length, lists)
  t.match(requests('/api/v1/services?watch').at(-1), `resourceVersion=${before}`)
  t.equal(sink.calls.filter((call) => call === 'apply Service/shop/b').length, 1, 'nothing is told twice')
  t.notOk(sink.calls.includes('unreachable'), 'a cut is no absence')
})

t.test('a bookmark moves the place from which a watch is resumed', async (t) => {
  const { server, sink, start, requests } = await openLab(t)
  await start()
  await isWatching(server)(sink)
  server.put(policyValue('elsewhere'))
  await sink.until('policy', () => sink.names('AuthorizationPolicy').length === 1)
  const version = Number(sink.object('AuthorizationPolicy', 'shop', 'elsewhere')?.metadata.resourceVersion)
  server.sendToWatches()
  server.compact()
  server.oldest = version
  server.put(serviceValue('after'))
  await sink.until('after', () => sink.names('Service').length === 1)
  server.cutWatches()
  server.put(serviceValue('last'))
  await sink.until('last', () => sink.names('Service').length === 2)
  t.equal(requests('/api/v1/nodes?limit').length, 1, 'a kind without events did not list again')
  t.ok(requests('/api/v1/nodes?watch').every((each) => each.includes('allowWatchBookmarks=true')))
})

t.test('a version that is too old, in the stream or as an answer, lists again', async (t) => {
  const { server, sink, start } = await openLab(t)
  server.put(serviceValue('a'))
  server.put(serviceValue('b'))
  await start()
  await isWatching(server)(sink)
  server.delete(serviceValue('a'))
  await sink.until('a gone', () => sink.names('Service').length === 1)
  server.sendToWatches({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } })
  await sink.until(
    'listed again',
    () => sink.calls.filter((call) => call.startsWith('replace Service ')).length === 2,
  )
  let refused = 0
  server.fault = ({ path, query, response }) => {
    if (path !== '/api/v1/services' || !query.has('watch') || refused++ > 0) return undefined
    sendStatus(response, 410, 'too old')
    return 'handled'
  }
  server.cutWatches()
  await sink.until(
    'a third time',
    () => sink.calls.filter((call) => call.startsWith('replace Service ')).length === 3,
  )
  t.same(sink.names('Service'), ['Service/shop/b'])
  t.equal(sink.syncedCount, 1)
})

t.test('429 and 503 are waited out as long as the server asks; 500 is tried again', async (t) => {
  const { server, sink, start } = await openLab(t, { timing: { maxRetryMs: 5_000 } })
  const atMs: number[] = []
  server.fault = ({ path, response }) => {
    if (path !== '/api/v1/pods') return undefined
    atMs.push(performance.now())
    const answers = [429, 503, 500, 500]
    const code = answers[atMs.length - 1]
    if (code === undefined) return undefined
    const headers: Record<string, string> = code === 500 ? {} : { 'Retry-After': '1' }
    sendStatus(response, code, 'too many requests, please try again later', headers)
    return 'handled'
  }
  await start()
  const waits = atMs.slice(1).map((each, index) => each - (atMs[index] ?? 0))
  t.ok((waits[0] ?? 0) >= 1000, `${waits[0]} ms after 429`)
  t.ok((waits[1] ?? 0) >= 1000, `${waits[1]} ms after 503`)
  t.ok((waits[2] ?? 0) < 1000, `${waits[2]} ms after 500`)
  t.ok(sink.calls.indexOf('unreachable') < sink.calls.indexOf('reachable'))
  t.equal(sink.unreachable, null)
})

t.test('a server that asks for an hour does not get it', async (t) => {
  const { server, start } = await openLab(t)
  let count = 0
  server.fault = ({ path, response }) => {
    if (path !== '/api/v1/pods' || count++ > 1) return undefined
    sendStatus(response, 429, 'later', { 'Retry-After': '3600' })
    return 'handled'
  }
  const startedMs = performance.now()
  await start()
  t.ok(performance.now() - startedMs < 60_000, 'not the hour it was told to wait')
})

t.test('a refused token is read again', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidestep-token-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const tokenFile = join(directory, 'token')
  await writeFile(tokenFile, 'first\n')
  const { server, sink, start } = await openLab(t, { tokenFile })
  let valid = 'first'
  server.fault = ({ token, response }) => {
    if (token === `Bearer ${valid}`) return undefined
    sendStatus(response, 401, 'Unauthorized')
    return 'handled'
  }
  await start()
  valid = 'second'
  server.cutWatches()
  await sink.until('refused', () => sink.unreachable !== null)
  t.match(sink.unreachable, '401 Unauthorized')
  await writeFile(tokenFile, 'second\n')
  await sink.until('back', () => sink.unreachable === null)
  server.put(serviceValue('a'))
  await sink.until('a', () => sink.names('Service').length === 1)
})

t.test('a kind that may not be listed keeps the view from being complete, and is named', async (t) => {
  const { server, source, sink } = await openLab(t)
  let isForbidden = true
  server.fault = ({ path, response }) => {
    if (!isForbidden || !path.endsWith('/authorizationpolicies')) return undefined
    sendStatus(response, 403, 'authorizationpolicies.security.istio.io is forbidden')
    return 'handled'
  }
  source.start(sink)
  await sink.until(
    'all others',
    () => new Set(sink.calls.filter((call) => call.startsWith('replace'))).size === WATCHED_KINDS.length - 1,
  )
  await sink.until('named', () => sink.unreachable !== null)
  t.match(sink.unreachable, 'AuthorizationPolicy.security.istio.io: 403 authorizationpolicies')
  t.equal(sink.syncedCount, 0)
  isForbidden = false
  await sink.until('synced', () => sink.syncedCount === 1)
  t.equal(sink.unreachable, null)
})

t.test('kinds that are not installed have no objects until they are', async (t) => {
  const istio = WATCHED_KINDS.filter(({ origin }) => origin === 'crd').map(({ kind }) => kind)
  const { server, sink, start } = await openLab(t, { missing: istio })
  await start()
  t.equal(sink.unreachable, null)
  t.same(sink.names('AuthorizationPolicy'), [])
  server.serve('security.istio.io', 'v1beta1', 'authorizationpolicies')
  server.put({ ...policyValue('p'), apiVersion: 'security.istio.io/v1beta1' })
  await sink.until('policy', () => sink.names('AuthorizationPolicy').length === 1)
  t.equal(
    sink.object('AuthorizationPolicy', 'shop', 'p')?.apiVersion,
    'security.istio.io/v1beta1',
    'an older version',
  )
  server.unserve('security.istio.io', 'v1beta1', 'authorizationpolicies')
  await sink.until('uninstalled', () => sink.names('AuthorizationPolicy').length === 0)
  t.equal(sink.unreachable, null)
})

t.test('a server that hangs is given up: before the answer, within it, and in a silent watch', async (t) => {
  const { server, sink, start, requests } = await openLab(t, {
    requestTimeoutMs: 200,
    timing: { idleMs: 300 },
  })
  let count = 0
  server.fault = ({ path, response }) => {
    if (path !== '/api/v1/pods' || count++ > 1) return undefined
    if (count === 2) response.write('{"metadata": {"resourceVersion": "7"}, "items": [')
    return 'handled'
  }
  await start()
  t.ok(count >= 3)
  const watches = requests('/api/v1/pods?watch').length
  const startedMs = performance.now()
  while (requests('/api/v1/pods?watch').length < watches + 2) {
    if (performance.now() - startedMs > 10_000) break
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.ok(requests('/api/v1/pods?watch').length >= watches + 2, 'a silent watch is opened anew')
  t.equal(requests('/api/v1/pods?limit').length, 3, 'and does not list for it')
  t.equal(sink.unreachable, null)
})

t.test('answers that make no sense are errors and harm nobody', async (t) => {
  const { server, sink, start } = await openLab(t)
  const nonsense = [
    'null',
    '[]',
    'not json',
    '{"items": 7, "metadata": {}}',
    '{"metadata": {"resourceVersion": 7}}',
    '',
  ]
  let count = 0
  server.fault = ({ path, query, response }) => {
    if (path !== '/api/v1/pods' || query.has('watch')) return undefined
    const text = nonsense[count++]
    if (text === undefined) return undefined
    response.end(text)
    return 'handled'
  }
  await start()
  t.equal(count, nonsense.length + 1)
  await isWatching(server)(sink)
  for (const event of [
    { type: 'ADDED' },
    { type: 'ADDED', object: [] },
    [],
    { type: 'SOMETHING', object: {} },
  ]) {
    server.sendToWatches(event)
    await isWatching(server)(sink)
  }
  server.put(serviceValue('a'))
  await sink.until('a', () => sink.names('Service').length === 1)
})

t.test('an event beyond the limit ends the watch, not the process', async (t) => {
  const { server, sink, start, requests } = await openLab(t)
  await start()
  await isWatching(server)(sink)
  const before = requests('/api/v1/services?watch').length
  const endless = { type: 'ADDED', object: { text: 'x'.repeat(9 * 1024 * 1024) } }
  server.sendToWatches(endless, '/api/v1/services')
  while (requests('/api/v1/services?watch').length === before)
    await new Promise((resolve) => setTimeout(resolve, 10))
  server.put(serviceValue('a'))
  await sink.until('a', () => sink.names('Service').length === 1)
  t.notOk(sink.calls.includes('unreachable'))
})

t.test('an event that can never be read is told and gone round by a list', async (t) => {
  const { server, sink, start, requests } = await openLab(t, { timing: { maxRetryMs: 1_000 } })
  server.put(serviceValue('a'))
  await start()
  await isWatching(server)(sink)
  const lists = requests('/api/v1/services?limit').length
  let isBroken = true
  server.fault = ({ path, query, response }) => {
    if (!isBroken || path !== '/api/v1/services' || !query.has('watch')) return undefined
    response.end('{"type": "ADDED", "object":\n')
    return 'handled'
  }
  server.cutWatches()
  await sink.until('told', () => sink.unreachable?.startsWith('Service: ') === true)
  while (requests('/api/v1/services?limit').length === lists)
    await new Promise((resolve) => setTimeout(resolve, 5))
  isBroken = false
  server.put(serviceValue('b'))
  await sink.until('b', () => sink.names('Service').length === 2)
  await sink.until('back', () => sink.unreachable === null)
  t.equal(sink.syncedCount, 1)
})

t.test('what nobody reads is not kept', async (t) => {
  const { server, sink, start } = await openLab(t)
  server.put({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...{ name: 'p', namespace: 'shop', labels: { app: 'p' } },
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}', keep: 'me' },
    },
    spec: {
      ...{ nodeName: 'n1', volumes: [{ secret: 's' }], serviceAccountName: 'p' },
      containers: [
        {
          name: 'c',
          image: 'i',
          env: [{ name: 'PASSWORD', value: 'hunter2' }],
          ports: [{ containerPort: 80 }],
        },
      ],
    },
    status: {
      phase: 'Running',
      podIPs: [{ ip: '10.0.0.1' }],
      containerStatuses: [{}],
      conditions: [{ type: 'Ready', status: 'True', message: 'x' }],
    },
  })
  await start()
  const pod = sink.object('Pod', 'shop', 'p')
  t.same(pod?.spec, {
    ...{ nodeName: 'n1', serviceAccountName: 'p' },
    containers: [{ name: 'c', ports: [{ containerPort: 80 }] }],
  })
  t.same(pod?.status, {
    phase: 'Running',
    podIPs: [{ ip: '10.0.0.1' }],
    conditions: [{ type: 'Ready', status: 'True' }],
  })
  t.same(pod?.metadata.annotations, { keep: 'me' })
  t.notMatch(JSON.stringify(pod), /hunter2|managedFields/)
})

t.test('stop() waits for no pause, however long it would be', async (t) => {
  const { server, source, sink, start } = await openLab(t, {
    timing: { retryMs: 90_000, maxRetryMs: 90_000 },
  })
  await start()
  await isWatching(server)(sink)
  await source.stop() // a pause would outlast this file
  t.equal(server.watchCount, 0)
})
