// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { readObject } from '../../../controller/watch/read-object.ts'
import { formatPath } from '../../../controller/watch/value-mistakes.ts'
import { serviceValue } from '../../support/config-objects.ts'

const told = (value: unknown): string[] =>
  readObject(value, null).mistakes.all.map(({ path, message }) => `${formatPath(path)}: ${message}`)

t.test('an object is read with all that the mesh wants of its metadata', async (t) => {
  const origin = { file: 'a.yaml', line: 3, column: 1 }
  const value = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...{ name: 'cart-1', namespace: 'shop', uid: 'u1', generation: 4, resourceVersion: '77' },
      ...{ labels: { app: 'cart' }, annotations: { 'example.com/note': 'any text\nat all' } },
      ...{ creationTimestamp: '2026-01-31T12:00:00Z', deletionTimestamp: '2026-01-31T13:00:00Z' },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'cart', uid: 'u2', controller: true },
      ],
      ...{ managedFields: [{ manager: 'kubectl' }], selfLink: '/x', somethingNew: 7 },
    },
    ...{ spec: { nodeName: 'n1' }, status: { phase: 'Running' }, extra: [1] },
  }
  const { object, mistakes } = readObject(value, origin)
  t.same(mistakes.all, [])
  t.same(object, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...{ name: 'cart-1', namespace: 'shop', uid: 'u1', generation: 4, resourceVersion: '77' },
      ...{ labels: { app: 'cart' }, annotations: { 'example.com/note': 'any text\nat all' } },
      ...{ createdMs: Date.UTC(2026, 0, 31, 12), isDeleting: true },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'cart', uid: 'u2' }],
    },
    ...{ spec: { nodeName: 'n1' }, status: { phase: 'Running' }, rest: { extra: [1] }, origin },
  })
})

t.test('what is not said has its default, null too', async (t) => {
  const bare = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'cart', labels: null }, spec: null }
  const { object } = readObject(bare, null)
  t.equal(object?.metadata.namespace, 'default')
  t.same(object?.metadata.labels, {})
  t.same(object?.spec, {})
  t.ok(Number.isNaN(object?.metadata.createdMs))
  t.equal(object?.metadata.isDeleting, false)
  const node = readObject({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', namespace: 'x' } }, null)
  t.equal(node.object?.metadata.namespace, '', 'a node has no namespace, whatever is written')
})

t.test('every wrong type is a mistake with its path, all of them at once', async (t) => {
  const mistakes = told({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...{ name: 'a', namespace: 'shop', uid: 7, generation: '1', labels: { version: 1, ok: 'yes' } },
      ...{ annotations: ['x'], creationTimestamp: 'yesterday', ownerReferences: [7] },
    },
    spec: 'nothing',
    status: [],
  })
  t.same(mistakes.toSorted(), [
    'metadata.annotations: expected a map, found a list',
    'metadata.creationTimestamp: expected a time like 2026-01-31T12:00:00Z, found text "yesterday"',
    'metadata.generation: expected a whole number, found text "1"',
    'metadata.labels.version: expected text, found the number 1',
    'metadata.ownerReferences[0]: expected a map, found the number 7',
    'metadata.uid: expected a short text, found the number 7',
    'spec: expected a map, found text "nothing"',
    'status: expected a map, found a list',
  ])
  t.equal(
    readObject({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', labels: { v: 1 } } }, null).object,
    null,
  )
})

t.test('without a valid name there is no object', async (t) => {
  for (const metadata of [
    undefined,
    null,
    'x',
    [],
    {},
    { name: 7 },
    { name: '' },
    { name: 'A' },
    { name: '../x' },
  ])
    t.equal(readObject({ apiVersion: 'v1', kind: 'Pod', metadata }, null).partial, null)
  const named = (name: string) =>
    readObject({ apiVersion: 'v1', kind: 'Pod', metadata: { name } }, null).object
  t.ok(named('a'.repeat(253)))
  t.equal(named('a'.repeat(254)), null)
  const inNamespace = (namespace: string) =>
    readObject({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', namespace } }, null).object
  t.ok(inNamespace('a'.repeat(63)))
  for (const each of ['a'.repeat(64), 'a.b', 'A', 'a/b', '']) t.equal(inNamespace(each), null, each)
  for (const [apiVersion, kind] of [
    ['v1', 'pod'],
    ['x y/v1', 'Pod'],
    ['', 'Pod'],
    ['v1', ''],
    [1, 'Pod'],
    ['v1', {}],
  ])
    t.equal(readObject({ apiVersion, kind, metadata: { name: 'a' } }, null).partial, null)
})

t.test('keys that name parts of JavaScript objects are keys and nothing else', async (t) => {
  const text = `{"apiVersion":"v1","kind":"Service","__proto__":{"polluted":1},
    "metadata":{"name":"a","labels":{"__proto__":"x","constructor":"y"}},
    "spec":{"__proto__":{"ports":[]},"constructor":1}}`
  const { partial, mistakes } = readObject(JSON.parse(text), null)
  t.same(
    mistakes.all.map(({ path }) => formatPath(path)),
    ['metadata.labels.__proto__'],
  )
  t.equal(Object.getPrototypeOf(partial?.spec), Object.prototype)
  t.same(Object.keys(partial?.metadata.labels ?? {}), ['constructor'])
  t.same(Object.keys(partial?.rest ?? {}), ['__proto__'])
  t.equal(({} as { polluted?: number }).polluted, undefined) // as: asks for what must not be there
  t.same(told(Object.create({ apiVersion: 'v1' })), [': holds what is no plain data'])
})

t.test('labels are those that Kubernetes takes', async (t) => {
  const withLabel = (key: string, value: string) =>
    readObject({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', labels: { [key]: value } } }, null)
      .object
  t.ok(withLabel('sidestep.dev/mode', 'ambient'))
  t.ok(withLabel('App_1.x', ''))
  t.ok(withLabel('a'.repeat(63), 'b'.repeat(63)))
  for (const [key, value] of [
    ['a'.repeat(64), ''],
    ['a', 'b'.repeat(64)],
    ['a', 'b c'],
    ['', 'x'],
    ['a/b/c', 'x'],
  ])
    t.equal(withLabel(key ?? '', value ?? ''), null, `${key}=${value}`)
})

t.test('size, depth and count of one object are bounded, and what is within is read', async (t) => {
  const nested = (levels: number): unknown => {
    let value: unknown = 1
    for (let level = 0; level < levels; level++) value = { a: value }
    return value
  }
  const withSpec = (spec: unknown) => told({ ...serviceValue('a'), spec })
  t.same(withSpec(nested(63)), [])
  t.same(withSpec(nested(64)), [': more than 64 levels of maps and lists'])
  t.same(withSpec(nested(100_000)), [': more than 64 levels of maps and lists'])
  t.same(withSpec({ a: 'x'.repeat(3 * 1024 * 1024 - 1000) }), [])
  t.same(withSpec({ a: 'x'.repeat(3 * 1024 * 1024) }), [': more than 3145728 characters'])
  t.same(withSpec({ a: new Array(499_000).fill(1) }), [])
  t.same(withSpec({ a: new Array(500_000).fill(1) }), [': more than 500000 values'])
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  t.same(withSpec(cycle), [': more than 64 levels of maps and lists'])
  const annotations = (length: number) =>
    told({ ...serviceValue('a'), metadata: { name: 'a', annotations: { a: 'x'.repeat(length) } } })
  t.same(annotations(256 * 1024 - 1), [])
  t.same(annotations(256 * 1024), ['metadata.annotations: more than 262144 characters'])
  for (const value of [1n, Symbol('x'), () => 1, new Date()])
    t.same(withSpec({ value }), [': holds what is no plain data'])
})

t.test('a page of mistakes is enough', async (t) => {
  const labels = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`l${index}`, index]))
  const { all } = readObject(
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', labels } },
    null,
  ).mistakes
  t.equal(all.length, 21)
  t.equal(all.at(-1)?.message, 'there are more mistakes than these')
})

t.test('nothing makes it throw, and an object without mistakes is well formed', async (t) => {
  const key = fc.oneof(
    fc.constantFrom(
      'apiVersion',
      'kind',
      'metadata',
      'name',
      'namespace',
      'labels',
      'spec',
      '__proto__',
      'uid',
    ),
    fc.string(),
  )
  const leaf = fc.oneof(
    fc.string(),
    fc.constantFrom('v1', 'Pod', 'a'),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie('value')), fc.dictionary(key, tie('value'))),
  }))
  fc.assert(
    fc.property(value, value, (metadata, spec) => {
      for (const each of [metadata, { apiVersion: 'v1', kind: 'Pod', metadata, spec }]) {
        const { object, mistakes } = readObject(each, null)
        if (object === null && mistakes.all.length === 0) return false
        if (object !== null && (object.metadata.name === '' || typeof object.metadata.uid !== 'string'))
          return false
        for (const { path } of mistakes.all) formatPath(path)
      }
      return true
    }),
    { numRuns: 2000, seed: 7 },
  )
  t.pass('2000 values')
})
