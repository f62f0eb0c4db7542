// SPDX-License-Identifier: Apache-2.0
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import t from 'tap'
import { decodeAddress } from '../../../mesh/discovery/decode-workload.ts'
import { PORT_NAMES } from '../../../mesh/discovery/protocol.ts'
import { SERVICE_DEFAULTS } from '../../../mesh/model/service.ts'
import { WORKLOAD_DEFAULTS } from '../../../mesh/model/workload.ts'
import {
  AddressSchema,
  type ServiceSchema,
  type WorkloadSchema,
} from '../../../proto/generated/istio/workload_pb.js'
import { PortNamesSchema } from '../../../proto/generated/sidestep/v1/services_pb.js'
import { WorkloadLabelsSchema } from '../../../proto/generated/sidestep/v1/workloads_pb.js'

/** As it comes from the wire. */
const workload = (value: MessageInitShape<typeof WorkloadSchema>) =>
  decodeAddress(
    fromBinary(
      AddressSchema,
      toBinary(AddressSchema, create(AddressSchema, { type: { case: 'workload', value } })),
    ),
  )
const service = (value: MessageInitShape<typeof ServiceSchema>) =>
  decodeAddress(
    fromBinary(
      AddressSchema,
      toBinary(AddressSchema, create(AddressSchema, { type: { case: 'service', value } })),
    ),
  )
const ip = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)
const gateway = {
  destination: { case: 'hostname', value: { namespace: 'shop', hostname: 'wp.shop.svc' } },
} as const

t.test('what is unset has the defaults of Istio’s ztunnel', async (t) => {
  t.same(workload({ uid: 'u' }), {
    kind: 'workload',
    workload: {
      ...WORKLOAD_DEFAULTS,
      ...{ uid: 'u', serviceAccount: 'default', trustDomain: 'cluster.local', clusterId: 'Kubernetes' },
      workloadType: 'deployment',
    },
  })
  t.same(service({ hostname: 'h' }), { kind: 'service', service: { ...SERVICE_DEFAULTS, hostname: 'h' } })
})

t.test('every field of a workload arrives', async (t) => {
  const decoded = workload({
    uid: 'Kubernetes//Pod/shop/cart',
    ...{ name: 'cart', namespace: 'shop', serviceAccount: 'cart-sa', trustDomain: 'td', network: 'n1' },
    addresses: [ip(10, 0, 0, 1), ip(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7)],
    ...{ tunnelProtocol: 1, networkMode: 1, node: 'node-a', status: 1, capacity: 0, nativeTunnel: true },
    locality: { region: 'r', zone: 'z', subzone: 's' },
    waypoint: { ...gateway, hboneMtlsPort: 15008 },
    networkGateway: {
      destination: { case: 'address', value: { network: 'n2', address: ip(10, 9, 9, 9) } },
      hboneMtlsPort: 15443,
    },
    applicationTunnel: { protocol: 1, port: 9000 },
    services: { 'shop/cart.shop.svc': { ports: [{ servicePort: 80, targetPort: 8080 }] } },
    authorizationPolicies: ['shop/p'],
    ...{
      workloadName: 'cart-7',
      workloadType: 3,
      canonicalName: 'cart',
      canonicalRevision: 'v2',
      clusterId: 'c2',
    },
    hostname: 'cart.example',
    extensions: [
      { name: 'another' },
      { name: 'sidestep.dev/same-node-direct' },
      {
        name: 'sidestep.dev/labels',
        config: anyPack(WorkloadLabelsSchema, create(WorkloadLabelsSchema, { labels: { tier: 'gold' } })),
      },
    ],
  })
  t.same(decoded, {
    kind: 'workload',
    workload: {
      uid: 'Kubernetes//Pod/shop/cart',
      ...{ name: 'cart', namespace: 'shop', serviceAccount: 'cart-sa', trustDomain: 'td', network: 'n1' },
      workloadIps: ['10.0.0.1', 'fd00::7'],
      ...{ protocol: 'HBONE', networkMode: 'HostNetwork', node: 'node-a', status: 'Unhealthy', capacity: 0 },
      nativeTunnel: true,
      locality: { region: 'r', zone: 'z', subzone: 's' },
      waypoint: {
        destination: { kind: 'hostname', namespace: 'shop', hostname: 'wp.shop.svc' },
        hboneMtlsPort: 15008,
      },
      networkGateway: {
        destination: { kind: 'address', network: 'n2', ip: '10.9.9.9' },
        hboneMtlsPort: 15443,
      },
      applicationTunnel: { protocol: 'PROXY', port: 9000 },
      services: { 'shop/cart.shop.svc': { 80: 8080 } },
      authorizationPolicies: ['shop/p'],
      ...{ workloadName: 'cart-7', workloadType: 'job', canonicalName: 'cart', canonicalRevision: 'v2' },
      ...{ clusterId: 'c2', hostname: 'cart.example', sameNode: 'direct', labels: { tier: 'gold' } },
    },
  })
})

t.test('every field of a service arrives', async (t) => {
  t.same(
    service({
      ...{ name: 'cart', namespace: 'shop', hostname: 'cart.shop.svc', canonical: true, visibility: 1 },
      addresses: [
        { network: 'n1', address: ip(10, 96, 0, 1) },
        { network: 'n1', address: ip(10, 97, 0, 1), length: 16 },
      ],
      ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 2 }],
      extensions: [
        { name: 'of.others/x', config: anyPack(PortNamesSchema, create(PortNamesSchema, {})) },
        {
          name: PORT_NAMES,
          config: anyPack(PortNamesSchema, create(PortNamesSchema, { names: [{ name: 'HTTP', port: 80 }] })),
        },
      ],
      subjectAltNames: ['spiffe://td/ns/a/sa/b', 'not one'],
      waypoint: { ...gateway, hboneMtlsPort: 15008 },
      weightedWaypoints: [{ destination: { ...gateway, hboneMtlsPort: 15008 }, weight: 3 }],
      loadBalancing: { routingPreference: [6, 1, 2], mode: 2, healthPolicy: 1 },
      ipFamilies: 3,
    }),
    {
      kind: 'service',
      service: {
        ...{
          name: 'cart',
          namespace: 'shop',
          hostname: 'cart.shop.svc',
          canonical: true,
          visibility: 'Namespace',
        },
        vips: [{ network: 'n1', ip: '10.96.0.1' }],
        cidrVips: [{ network: 'n1', cidr: '10.97.0.0/16' }],
        ports: { 80: 8080 },
        portNames: { http: 80 },
        appProtocols: { 80: 'HTTP2' },
        subjectAltNames: ['spiffe://td/ns/a/sa/b'],
        waypoint: {
          destination: { kind: 'hostname', namespace: 'shop', hostname: 'wp.shop.svc' },
          hboneMtlsPort: 15008,
        },
        weightedWaypoints: [
          {
            destination: {
              destination: { kind: 'hostname', namespace: 'shop', hostname: 'wp.shop.svc' },
              hboneMtlsPort: 15008,
            },
            weight: 3,
          },
        ],
        loadBalancer: {
          routingPreferences: ['Network', 'Region', 'Zone'],
          mode: 'Failover',
          healthPolicy: 'AllowAll',
        },
        ipFamilies: 'Dual',
      },
    },
  )
})

t.test('what Istio’s ztunnel refuses is refused', async (t) => {
  const cases: [string, () => unknown][] = [
    ['nothing', () => decodeAddress(create(AddressSchema, {}))],
    ['no uid', () => workload({})],
    ['an old tunnel protocol', () => workload({ uid: 'u', tunnelProtocol: 2 })],
    ['an unknown tunnel protocol', () => workload({ uid: 'u', tunnelProtocol: 9 as never })],
    ['an address of three bytes', () => workload({ uid: 'u', addresses: [ip(10, 0, 0)] })],
    ['a gateway without destination', () => workload({ uid: 'u', waypoint: { hboneMtlsPort: 1 } })],
    ['a services key without slash', () => workload({ uid: 'u', services: { cart: {} } })],
    ['an unknown scope', () => service({ hostname: 'h', loadBalancing: { routingPreference: [0] } })],
    [
      'an impossible prefix',
      () => service({ hostname: 'h', addresses: [{ address: ip(1, 2, 3, 4), length: 40 }] }),
    ],
    ['a weighted waypoint to nowhere', () => service({ hostname: 'h', weightedWaypoints: [{ weight: 1 }] })],
  ]
  for (const [name, decode] of cases) t.throws(decode, { name: 'ResourceError' }, name)
  t.match(service({ hostname: 'h', visibility: 9 as never }), { service: { visibility: 'Public' } })
})
