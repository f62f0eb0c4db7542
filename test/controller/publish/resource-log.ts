// SPDX-License-Identifier: Apache-2.0
import { fromBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { encodeResponse } from '../../../controller/publish/encode.ts'
import { type ResourceContent, ResourceLog } from '../../../controller/publish/resource-log.ts'
import { DeltaDiscoveryResponseSchema } from '../../../proto/generated/envoy/discovery_pb.js'

const TYPE = 'type.googleapis.com/test.Thing'
const content = (name: string, text: string): ResourceContent => ({
  name,
  aliases: [`/${name}`],
  bytes: Buffer.from(text),
})

t.test('what is published again unchanged is no change; versions come from the content', async (t) => {
  const log = new ResourceLog(TYPE)
  t.equal(log.sequence, 0)
  t.ok(log.update([content('a', '1'), content('b', '1')], []))
  t.notOk(log.update([content('a', '1')], ['nothing']))
  t.equal(log.sequence, 1)
  t.ok(log.update([content('a', '2')], ['b']))
  t.equal(log.size, 1)
  const other = new ResourceLog(TYPE)
  other.update([content('a', '2')], [])
  t.equal(log.get('a')?.version, other.get('a')?.version, 'a replica says the same')
  t.not(log.get('a')?.version, undefined)
})

t.test('a resource is encoded as receivers read it', async (t) => {
  const log = new ResourceLog(TYPE)
  log.update([content('a', 'payload')], [])
  const { resources } = log.since(0) ?? { resources: [] }
  const bytes = encodeResponse(
    TYPE,
    '7',
    resources.map(({ frame }) => frame),
    ['gone'],
  )
  t.match(fromBinary(DeltaDiscoveryResponseSchema, bytes), {
    typeUrl: TYPE,
    nonce: '7',
    removedResources: ['gone'],
    resources: [{ name: 'a', aliases: ['/a'], version: /^[0-9a-f]{16}$/, resource: { typeUrl: TYPE } }],
  })
  const [first] = fromBinary(DeltaDiscoveryResponseSchema, bytes).resources
  t.equal(Buffer.from(first?.resource?.value ?? []).toString(), 'payload')
})

t.test('whoever joins at any time and follows from there holds what is published', async (t) => {
  const change = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    text: fc.option(fc.constantFrom('1', '2', '3')),
  })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 30 }),
        fc.nat(10),
        (steps, pace) => {
          const log = new ResourceLog(TYPE)
          const held = new Map<string, string>()
          let sequence = 0
          const follow = (): void => {
            const delta = log.since(sequence)
            if (delta === null) throw new Error('the horizon is far away here')
            for (const { name, version } of delta.resources) held.set(name, version)
            for (const name of delta.removed) held.delete(name)
            sequence = log.sequence
          }
          for (const [index, step] of steps.entries()) {
            const last = new Map(step.map(({ name, text }) => [name, text]))
            const changed = [...last].flatMap(([name, text]) => (text === null ? [] : [content(name, text)]))
            log.update(
              changed,
              [...last].flatMap(([name, text]) => (text === null ? [name] : [])),
            )
            if (index % (pace + 1) === 0) follow()
          }
          follow()
          const published = new Map([...log.all()].map(({ name, version }) => [name, version]))
          if (JSON.stringify([...held].toSorted()) !== JSON.stringify([...published].toSorted()))
            throw new Error('it holds something else')
        },
      ),
    ),
  )
})

t.test('removed names are remembered up to a bound; who is behind it is told to start over', async (t) => {
  const log = new ResourceLog(TYPE)
  const names = Array.from({ length: 25_000 }, (_, index) => `n${index}`)
  log.update(
    names.map((name) => content(name, '1')),
    [],
  )
  const early = log.sequence
  for (const name of names) log.update([], [name])
  log.update([content('a', '1')], [])
  for (let index = 0; index < 30_000; index++) log.update([content('a', String(index))], [])
  t.equal(log.size, 1)
  t.equal(log.since(early), null)
  t.equal(log.since(log.sequence - 1)?.resources.length, 1)
  t.equal(log.since(0)?.removed.length, 0, 'a new client needs no removals')
})

t.test('a client that comes back is told the difference to what it says it holds', async (t) => {
  const log = new ResourceLog(TYPE)
  log.update([content('a', '1'), content('b', '1'), content('c', '1')], [])
  const version = (name: string): string => log.get(name)?.version ?? ''
  const held = new Map([
    ['a', version('a')],
    ['b', ''],
    ['gone', 'x'],
  ])
  const { resources, removed } = log.against(held)
  t.same(
    resources.map(({ name }) => name),
    ['b', 'c'],
  )
  t.same(removed, ['gone'])
})
