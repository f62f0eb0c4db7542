// SPDX-License-Identifier: Apache-2.0
// Whatever stands in an object, translation neither throws nor takes long, what it sends can be sent and is nothing that
// a ztunnel refuses, and it says what is wrong.

import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { FINDING_CODES } from '../../controller/translate/finding-codes.ts'
import { MAX_FINDING_TEXT, MAX_FINDINGS_PER_OBJECT } from '../../controller/translate/notes.ts'
import { Translator } from '../../controller/translate/translate.ts'
import type { Translation } from '../../controller/translate/translation.ts'
import { AuthorizationSchema } from '../../proto/generated/istio/authorization_pb.js'
import {
  type GatewayAddress,
  ServiceSchema,
  WorkloadSchema,
} from '../../proto/generated/istio/workload_pb.js'
import { findingsOf, SETTINGS } from '../support/translated.ts'
import { parseObjects, toObject, viewOf } from '../support/yaml-objects.ts'

const translate = (objects: readonly Record<string, unknown>[]): Translation =>
  new Translator(SETTINGS).translate(viewOf(objects.map(toObject)))

/** What a receiver would refuse (SPEC HBONE §0.5) or drop (§4.4). */
function assertSendable(translation: Translation): void {
  const isIp = ({ length }: Uint8Array): boolean => length === 4 || length === 16
  const isGateway = (gateway: GatewayAddress | undefined): boolean =>
    gateway === undefined || gateway.destination.case !== undefined
  const assert = (isGood: boolean, what: string): void => {
    if (!isGood) throw new Error(what)
  }
  for (const [uid, workload] of translation.workloads) {
    const sent = fromBinary(WorkloadSchema, toBinary(WorkloadSchema, workload))
    assert(sent.uid === uid && sent.addresses.every(isIp) && isGateway(sent.waypoint), uid)
    assert(sent.addresses.length > 0 || sent.hostname !== '', `${uid} is nowhere`)
    for (const [key, { ports }] of Object.entries(sent.services)) {
      assert(key.includes('/'), key)
      assert(
        ports.every(({ servicePort, targetPort }) => isPort(servicePort) && isPort(targetPort)),
        uid,
      )
    }
  }
  for (const [key, service] of translation.services) {
    const sent = fromBinary(ServiceSchema, toBinary(ServiceSchema, service))
    assert(sent.addresses.every(({ address }) => isIp(address)) && isGateway(sent.waypoint), key)
    assert(
      sent.addresses.every(({ address, length }) => (length ?? 0) <= address.length * 8),
      key,
    )
    assert(
      sent.weightedWaypoints.every(({ destination }) => destination?.destination.case !== undefined),
      key,
    )
  }
  for (const [key, policy] of translation.authorizations) {
    const { rules } = fromBinary(AuthorizationSchema, toBinary(AuthorizationSchema, policy))
    for (const match of rules.flatMap(({ clauses }) => clauses.flatMap(({ matches }) => matches))) {
      const strings = [match.principals, match.notPrincipals, match.namespaces, match.notNamespaces].flat()
      assert(
        strings.every(({ matchType }) => matchType.case !== undefined && matchType.value !== ''),
        `${key} has a string without value`,
      )
      const blocks = [
        match.sourceIps,
        match.notSourceIps,
        match.destinationIps,
        match.notDestinationIps,
      ].flat()
      assert(
        blocks.every(({ address, length }) => isIp(address) && length <= address.length * 8),
        `${key} has an address that is none`,
      )
      const ports = [match.destinationPorts, match.notDestinationPorts].flat()
      assert(ports.every(isPort), `${key} has a port that is none`)
    }
    for (const { clauses } of rules) {
      assert(
        clauses.every(({ matches }) => matches.length > 0),
        `${key} has an empty clause`,
      )
    }
  }
  for (const { code, message, fix } of translation.findings) {
    assert(code in FINDING_CODES && message !== '' && fix !== '', code)
    assert(message.length <= MAX_FINDING_TEXT + 1, `${code} is long`)
  }
}

const isPort = (port: number): boolean => port >= 1 && port <= 65_535

const directory = join(import.meta.dirname, '..', 'fixtures', 'translate')
const objects = globSync('*.yaml', { cwd: directory })
  .toSorted()
  .flatMap((file) => parseObjects(readFileSync(join(directory, file), 'utf8')))

/** Paths of everything that stands in a value. */
function pathsOf(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  return [path, ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]))]
}

/** The value with something else at a path. */
function replaced(value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown {
  if (key === undefined || typeof value !== 'object' || value === null) return by
  if (Array.isArray(value))
    return value.map((each, index) => (String(index) === key ? replaced(each, rest, by) : each))
  return { ...value, [key]: replaced((value as Record<string, unknown>)[key], rest, by) } // as: own key of a map
}

const garbage: readonly unknown[] = [
  null, 7, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '', 'x', '\u0000', '\ud800', '../..', '*', '**',
  'constructor', '__proto__', true, [], [[]], [null], [{}], {}, { a: 1 }, JSON.parse('{"__proto__":{"a":1}}'),
  '10.0.0.0/0', '::', '99999999999999999999', 'x'.repeat(100_000),
] // biome-ignore format: a list of odd values

t.test('one odd value anywhere in any object is survived', async (t) => {
  let count = 0
  for (const [index, object] of objects.entries()) {
    for (const part of ['spec', 'status', 'rest'] as const) {
      for (const path of pathsOf(object[part])) {
        // Each place sees some of the values; all places together see each of them often.
        for (let turn = 0; turn < 2; turn++) {
          const by = garbage[(count * 7 + turn * 5 + index) % garbage.length]
          const changed = path.length === 0 ? (by as object) : replaced(object[part], path, by) // as: garbage is wanted
          if (typeof changed !== 'object' || changed === null || Array.isArray(changed)) continue
          const broken = { ...object, [part]: changed }
          const near = objects.filter(
            (each) => each !== object && Math.abs(objects.indexOf(each) - index) < 6,
          )
          assertSendable(new Translator(SETTINGS).translate(viewOf([...near, broken])))
          count++
        }
      }
    }
  }
  t.ok(count > 1500, `${count} broken objects`)
})

const KINDS = [
  ['v1', 'Pod'],
  ['v1', 'Service'],
  ['v1', 'Node'],
  ['v1', 'Namespace'],
  ['discovery.k8s.io/v1', 'EndpointSlice'],
  ['networking.istio.io/v1', 'ServiceEntry'],
  ['networking.istio.io/v1', 'WorkloadEntry'],
  ['security.istio.io/v1', 'AuthorizationPolicy'],
  ['security.istio.io/v1', 'PeerAuthentication'],
  ['gateway.networking.k8s.io/v1', 'Gateway'],
  ['gateway.networking.k8s.io/v1', 'GatewayClass'],
] as const
const NAMES = [
  'spec', 'status', 'metadata', 'selector', 'matchLabels', 'ports', 'port', 'number', 'targetPort', 'rules', 'from', 'to',
  'source', 'operation', 'principals', 'ipBlocks', 'hosts', 'addresses', 'endpoints', 'address', 'resolution', 'mtls',
  'mode', 'portLevelMtls', 'podIPs', 'podIP', 'ip', 'listeners', 'labels', 'workloadSelector', 'targetRefs', 'action',
] // biome-ignore format: a list of words

t.test('objects of random structure are survived', async (t) => {
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { depthSize: 'medium' },
      fc.constantFrom(...garbage),
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...NAMES), tie('tree'), { maxKeys: 4 }),
    ),
  }))
  const map = fc.dictionary(fc.constantFrom(...NAMES), tree, { maxKeys: 6 })
  const object = fc.record({
    kind: fc.constantFrom(...KINDS),
    name: fc.constantFrom('a', 'b'),
    spec: map,
    status: map,
  })
  const property = fc.property(fc.array(object, { maxLength: 6 }), (list) => {
    const translation = translate(
      list.map(({ kind: [apiVersion, kind], name, spec, status }) => {
        const namespace = kind === 'Namespace' || kind === 'Node' ? '' : 'shop'
        return { ...spec, apiVersion, kind, metadata: { name, namespace }, spec, status }
      }),
    )
    assertSendable(translation)
  })
  fc.assert(property, { numRuns: 1500, seed: 5 })
  t.pass('none threw')
})

t.test('a policy of ten thousand rules and labels of a megabyte are answered in time', async (t) => {
  const metadata = { name: 'big', namespace: 'shop' }
  const rule = (index: number) => ({
    from: [{ source: { principals: [`cluster.local/ns/n${index}/sa/x`] } }],
    when: 7,
  })
  const rules = Array.from({ length: 10_000 }, (_, index) => rule(index))
  const long = 'x'.repeat(1_000_000)
  const translation = translate([
    {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata,
      spec: { action: 'DENY', rules },
    },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        ...metadata,
        labels: { app: long, [long]: long, 'sidestep.dev/mode': long, 'istio.io/use-waypoint': long },
      },
      status: { podIP: '10.0.0.1' },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'ServiceEntry',
      metadata,
      spec: { hosts: [long, `${'a-'.repeat(500_000)}.`] },
    },
  ])
  assertSendable(translation)
  t.equal(translation.authorizations.get('shop/big')?.rules.length, 10_000)
  const ofPolicy = translation.findings.filter(({ object }) => object.kind === 'AuthorizationPolicy')
  t.equal(ofPolicy.length, MAX_FINDINGS_PER_OBJECT + 1)
  const [workload] = [...translation.workloads.values()]
  t.equal(workload?.canonicalName.length, 253)
  t.ok(findingsOf(translation).includes('INVALID_VALUE spec.hosts[1]'))
})

t.test('labels that are no texts select nobody and are nobody', async (t) => {
  const translation = translate([
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: 'odd',
        namespace: 'shop',
        labels: { app: 7, 'sidestep.dev/mode': ['ambient'], 'topology.istio.io/network': {} },
        annotations: { 'ambient.istio.io/redirection': true },
      },
      status: { podIP: '10.0.0.1' },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'cart', namespace: 'shop', labels: { 'istio.io/use-waypoint': 3 } },
      spec: { selector: { app: '7' }, ports: [{ port: 80 }] },
    },
  ])
  assertSendable(translation)
  const [workload] = [...translation.workloads.values()]
  t.same(workload?.services, {})
  t.equal(workload?.canonicalName, 'odd')
})
