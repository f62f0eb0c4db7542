// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { readObject } from '../../../../controller/watch/read-object.ts'
import { checkKind } from '../../../../controller/watch/schema/check-kind.ts'
import { formatPath } from '../../../../controller/watch/value-mistakes.ts'

/** `severity path: message (suggestion)` of an object of that kind with these fields beside its metadata. */
function told(apiVersion: string, kind: string, parts: object): string[] {
  const { object, mistakes } = readObject({ apiVersion, kind, metadata: { name: 'a' }, ...parts }, null)
  if (object === null) throw new Error(JSON.stringify(mistakes.all))
  checkKind(object, mistakes)
  return mistakes.all.map(({ severity, path, message, suggestion }) => {
    return `${severity} ${formatPath(path)}: ${message}${suggestion === '' ? '' : ` (${suggestion})`}`
  })
}

const SECURITY = 'security.istio.io/v1'
const UNKNOWN_IN_POLICY = 'unknown field; what it may have meant to forbid is refused'
const NETWORKING = 'networking.istio.io/v1'
const GATEWAY = 'gateway.networking.k8s.io/v1'

/** Specs with everything in them that people use. */
const GOOD: readonly (readonly [string, string, object])[] = [
  [
    SECURITY,
    'AuthorizationPolicy',
    {
      spec: {
        selector: { matchLabels: { app: 'cart' } },
        targetRefs: [{ group: '', kind: 'Service', name: 'cart' }],
        action: 'DENY',
        rules: [
          {
            from: [{ source: { principals: ['*'], notNamespaces: ['x'], ipBlocks: ['10.0.0.0/8'] } }],
            to: [{ operation: { ports: ['80'], methods: ['GET'], notPaths: ['/x*'] } }],
            when: [{ key: 'source.ip', notValues: ['10.0.0.1'] }],
          },
        ],
      },
    },
  ],
  [
    SECURITY,
    'PeerAuthentication',
    { spec: { selector: null, mtls: { mode: 'STRICT' }, portLevelMtls: { 8080: { mode: 'DISABLE' } } } },
  ],
  [
    NETWORKING,
    'ServiceEntry',
    {
      spec: {
        hosts: ['db.example'],
        ports: [{ number: 5432, name: 'tcp', protocol: 'TCP', targetPort: 5433 }],
        resolution: 'STATIC',
        location: 'MESH_INTERNAL',
        endpoints: [{ address: '10.0.0.1', ports: { tcp: 5432 }, weight: 2, labels: { a: 'b' } }],
        exportTo: ['.'],
      },
      status: { addresses: [{ host: 'db.example', value: '240.240.0.1' }] },
    },
  ],
  [
    'telemetry.istio.io/v1',
    'Telemetry',
    {
      spec: {
        targetRefs: [{ group: '', kind: 'Service', name: 'cart' }],
        accessLogging: [
          { providers: [{ name: 'envoy' }], filter: { expression: 'response.code >= 400' } },
          { match: { mode: 'CLIENT' }, disabled: true },
        ],
        tracing: [
          {
            randomSamplingPercentage: 0.5,
            disableSpanReporting: false,
            customTags: {
              a: { literal: { value: 'b' } },
              c: { header: { name: 'X', defaultValue: 'd' } },
              e: { environment: { name: 'E' } },
            },
          },
        ],
        metrics: [{ overrides: [{ match: { metric: 'ALL_METRICS' }, disabled: true }] }],
      },
    },
  ],
  [NETWORKING, 'WorkloadEntry', { spec: { address: '10.0.0.1', serviceAccount: 'db', locality: 'a/b/c' } }],
  [
    'v1',
    'Service',
    {
      spec: {
        clusterIP: 'None',
        ports: [
          { name: 'http', port: 80, targetPort: 'web' },
          { port: 81, targetPort: 8 },
        ],
      },
    },
  ],
  [
    'v1',
    'Pod',
    {
      spec: { containers: [{ name: 'a', image: 'b', ports: [{ containerPort: 80 }] }], tolerations: [1] },
      status: {
        phase: 'Running',
        podIPs: [{ ip: '10.0.0.1' }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    },
  ],
  [
    'discovery.k8s.io/v1',
    'EndpointSlice',
    {
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      endpoints: [
        { addresses: ['10.0.0.1'], conditions: { ready: true, serving: null }, targetRef: { kind: 'Pod' } },
      ],
    },
  ],
  [
    'gateway.networking.k8s.io/v1',
    'Gateway',
    {
      spec: {
        gatewayClassName: 'sidestep-waypoint',
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
      },
    },
  ],
  ['gateway.networking.k8s.io/v1', 'GatewayClass', { spec: { controllerName: 'sidestep.dev/waypoint' } }],
  ['v1', 'Namespace', { spec: { finalizers: ['kubernetes'] }, status: { phase: 'Active' } }],
  ['v1', 'Node', { spec: { podCIDR: '10.0.0.0/24', taints: [] } }],
]

t.test('what people write is without mistake', async (t) => {
  for (const [apiVersion, kind, parts] of GOOD) t.same(told(apiVersion, kind, parts), [], kind)
})

t.test('an unknown field is told with what was probably meant, wherever it stands', async (t) => {
  t.same(
    told(SECURITY, 'AuthorizationPolicy', {
      spec: { rule: [], rules: [{ form: [], from: [{ source: { principal: [] } }] }], __proto__x: 1 },
    }),
    [
      `warning spec.rule: ${UNKNOWN_IN_POLICY} (rules)`,
      `warning spec.rules[0].form: ${UNKNOWN_IN_POLICY} (from)`,
      `warning spec.rules[0].from[0].source.principal: ${UNKNOWN_IN_POLICY} (principals)`,
      `warning spec.__proto__x: ${UNKNOWN_IN_POLICY}`,
    ],
  )
  t.same(told('v1', 'Service', { spec: { selectr: {} }, sepc: {} }), [
    'warning spec.selectr: unknown field (selector)',
    'warning sepc: unknown field',
  ])
  t.same(told('v1', 'Pod', { spec: { whatever: 1 } }), [], 'most of a pod concerns the kubelet')
  t.same(told('v1', 'Service', { spec: JSON.parse('{"__proto__": {"ports": 7}}') }), [
    'warning spec.__proto__: unknown field',
  ])
})

t.test('a wrong type or value is an error', async (t) => {
  t.same(told(SECURITY, 'AuthorizationPolicy', { spec: { action: 'DENYY', rules: { from: [] } } }), [
    'error spec.action: expected one of ALLOW, DENY, AUDIT, CUSTOM, found "DENYY" (DENY)',
    'error spec.rules: expected a list, found a map',
  ])
  t.same(
    told(SECURITY, 'AuthorizationPolicy', {
      spec: { rules: [null, { to: [{ operation: { ports: [80] } }] }] },
    }),
    [
      'error spec.rules[0]: expected a value, found nothing',
      'error spec.rules[1].to[0].operation.ports[0]: expected text, found the number 80',
    ],
  )
  t.same(told(SECURITY, 'PeerAuthentication', { spec: { mtls: { mode: 'strict' } } }), [
    'error spec.mtls.mode: expected one of UNSET, DISABLE, PERMISSIVE, STRICT, found "strict" (STRICT)',
  ])
  t.same(
    told('v1', 'Service', {
      spec: { ports: [{ port: 0 }, { port: 65_536 }, { port: 1.5 }, { targetPort: 1 }] },
    }),
    [
      'error spec.ports[0].port: expected a whole number from 1 to 65535, found the number 0',
      'error spec.ports[1].port: expected a whole number from 1 to 65535, found the number 65536',
      'error spec.ports[2].port: expected a whole number from 1 to 65535, found the number 1.5',
      'error spec.ports[3].port: required field is missing',
    ],
  )
  t.same(
    told('v1', 'Service', {
      spec: { ports: [{ port: 80, targetPort: {} }], publishNotReadyAddresses: 'no' },
    }),
    [
      'error spec.ports[0].targetPort: expected a whole number from 1 to 65535, found a map',
      'error spec.publishNotReadyAddresses: expected true or false, found text "no"',
    ],
  )
  t.same(told(NETWORKING, 'ServiceEntry', { spec: {} }), ['error spec.hosts: required field is missing'])
  t.same(told(NETWORKING, 'WorkloadEntry', { spec: { ports: { http: 'x' }, labels: [] } }), [
    'error spec.ports.http: expected a whole number from 1 to 65535, found text "x"',
    'error spec.labels: expected a map, found a list',
  ])
  t.same(told('discovery.k8s.io/v1', 'EndpointSlice', { endpoints: [{}] }), [
    'error endpoints[0].addresses: required field is missing',
    'error addressType: required field is missing',
  ])
  t.same(told('v1', 'Pod', { status: { podIPs: [{ ip: 7 }], phase: 'Runing' } }), [
    'error status.podIPs[0].ip: expected text, found the number 7',
    'error status.phase: expected one of Pending, Running, Succeeded, Failed, Unknown, found "Runing" (Running)',
  ])
})

t.test('kinds that are not served are not judged', async (t) => {
  t.same(told(NETWORKING, 'Sidecar', { spec: { anything: [1] }, more: 1 }), [])
})

t.test('fields of routes are known, and what is near one is told', async (t) => {
  const rule = {
    matches: [{ path: { type: 'Exact', value: '/' }, headers: [{ name: 'a', value: 'b' }], method: 'GET' }],
    filters: [{ type: 'RequestMirror', requestMirror: { backendRef: { name: 'b', port: 80 }, percent: 5 } }],
    backendRefs: [{ name: 'b', port: 80, weight: 1 }],
    timeouts: { request: '1s' },
  }
  const parentRefs = [{ group: '', kind: 'Service', name: 'b', sectionName: 'http' }]
  t.same(told(GATEWAY, 'HTTPRoute', { spec: { parentRefs, rules: [rule] } }), [])
  t.same(
    told(GATEWAY, 'HTTPRoute', {
      spec: { parentRefs, rules: [{ matchs: [], backendRefs: [{ weight: -1 }] }] },
    }),
    [
      'warning spec.rules[0].matchs: unknown field (matches)',
      'error spec.rules[0].backendRefs[0].weight: expected a whole number from 0 to 1000000, found the number -1',
      'error spec.rules[0].backendRefs[0].name: required field is missing',
    ],
  )
  t.same(told(GATEWAY, 'GRPCRoute', { spec: { rules: [{ matches: [{ method: { type: 'Exakt' } }] }] } }), [
    'error spec.rules[0].matches[0].method.type: expected one of Exact, RegularExpression, found "Exakt" (Exact)',
  ])
  t.same(told(`${GATEWAY}alpha2`, 'TCPRoute', { spec: { rules: [{ matches: [] }] } }), [
    'warning spec.rules[0].matches: unknown field',
  ])
  t.same(told(`${GATEWAY}beta1`, 'ReferenceGrant', { spec: { from: [{ kind: 'HTTPRoute' }], to: [] } }), [
    'error spec.from[0].group: required field is missing',
    'error spec.from[0].namespace: required field is missing',
  ])
})

t.test('fields of VirtualServices, DestinationRules and TrafficSplits are known too', async (t) => {
  const match = [{ uri: { prefix: '/' }, headers: { a: { exact: 'b' } } }]
  const http = [
    { match, route: [{ destination: { host: 'a', subset: 'v1' }, weight: 90 }] },
    {
      fault: { delay: { fixedDelay: '1s', percentage: { value: 0.1 } } },
      mirror: { host: 'b' },
      timeout: '1s',
    },
  ]
  t.same(told(NETWORKING, 'VirtualService', { spec: { hosts: ['a'], http } }), [])
  const wrong = [{ match: [{ urii: {} }], route: [{ weight: 'all' }] }]
  t.same(told(NETWORKING, 'VirtualService', { spec: { hosts: ['a'], http: wrong } }), [
    'warning spec.http[0].match[0].urii: unknown field (uri)',
    'error spec.http[0].route[0].weight: expected a whole number from 0 to 2147483647, found text "all"',
    'error spec.http[0].route[0].destination: required field is missing',
  ])
  const trafficPolicy = { loadBalancer: { simple: 'LEAST_CONN' }, outlierDetection: { consecutiveErrors: 1 } }
  const rule = { host: 'a', trafficPolicy, subsets: [{ name: 'v1' }] }
  t.same(told(NETWORKING, 'DestinationRule', { spec: rule }), [])
  const typo = { connectionPool: { http: { h2UpgradePolicy: 'UPGRAD' } } }
  t.same(told(NETWORKING, 'DestinationRule', { spec: { host: 'a', trafficPolicy: typo } }), [
    'error spec.trafficPolicy.connectionPool.http.h2UpgradePolicy: expected one of DEFAULT, DO_NOT_UPGRADE, UPGRADE, found "UPGRAD" (UPGRADE)',
  ])
  const backends = [
    { service: 'a', weight: '900m' },
    { service: 'b', weight: 1 },
  ]
  t.same(told('split.smi-spec.io/v1alpha2', 'TrafficSplit', { spec: { service: 's', backends } }), [])
})
