// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatFinding } from '../../../mesh/model/finding.ts'
import { parseLocalConfig } from '../../../mesh/model/local-config.ts'

const parse = (text: string) => parseLocalConfig(text, { file: 'mesh.yaml' })
const findings = (text: string): string[] => {
  const result = parse(text)
  return result.kind === 'findings' ? result.findings.map(formatFinding) : []
}

const EXAMPLE = `
workloads:
- {uid: Kubernetes//Pod/shop/front, name: front, namespace: shop, serviceAccount: front-sa,
   trustDomain: cluster.local, workloadIps: ["10.9.0.1"], protocol: HBONE, services: {}}
- {uid: Kubernetes//Pod/shop/cart, name: cart, namespace: shop, serviceAccount: cart-sa,
   trustDomain: cluster.local, workloadIps: ["10.9.0.2"], protocol: HBONE,
   services: {"shop/cart.shop.svc.cluster.local": {80: 8080}}}
services:
- {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: ["/10.96.0.10"], ports: {80: 8080},
   loadBalancer: {routingPreferences: [Network, Region, Zone], mode: Failover, healthPolicy: OnlyHealthy}}
policies:
- name: no-debug-port
  namespace: shop
  scope: Namespace
  action: Deny
  dryRun: false
  rules:
  - - - namespaces: [!Presence []]
        destinationPorts: [9999]
`

t.test('the example of the reference is read', async (t) => {
  const config = parse(EXAMPLE)
  if (config.kind === 'findings') throw new Error(config.findings.map(formatFinding).join('\n'))
  t.match(config.workloads, [
    {
      name: 'front',
      workloadIps: ['10.9.0.1'],
      protocol: 'HBONE',
      capacity: 1,
      status: 'Healthy',
      waypoint: null,
    },
    { serviceAccount: 'cart-sa', services: { 'shop/cart.shop.svc.cluster.local': { 80: 8080 } } },
  ])
  t.match(config.services, [
    { vips: [{ network: '', ip: '10.96.0.10' }], ports: { 80: 8080 }, loadBalancer: { mode: 'Failover' } },
  ])
  t.match(config.policies, [
    { action: 'Deny', rules: [[[{ namespaces: [{ kind: 'presence' }], destinationPorts: [9999] }]]] },
  ])
  t.same(structuredClone(config), config, 'plain data')
})

t.test('every field is read', async (t) => {
  const config = parse(`
workloads:
- {workloadIps: ["FD00::1", "::ffff:10.0.0.1"], namespace: a, services: {}, uid: u, name: n, serviceAccount: s, trustDomain: td,
   network: net, protocol: TCP, networkMode: HostNetwork, node: node1, hostname: Ext.Example.com,
   waypoint: {destination: a/wp.a, hboneMtlsPort: 15008}, networkGateway: {destination: net2/10.0.0.9, hboneMtlsPort: 15443},
   nativeTunnel: true, applicationTunnel: {protocol: PROXY, port: 9}, authorizationPolicies: [a/p], status: Unhealthy,
   clusterId: c, locality: {region: r, zone: z, subzone: s}, workloadName: wn, workloadType: deployment, canonicalName: cn,
   canonicalRevision: v1, capacity: 0, sameNode: direct}
services:
- {name: s, namespace: a, hostname: S.a, vips: ["net/fd00::9"], cidrVips: ["/10.1.2.3/16"], ports: {80: 0, "81": 8081},
   subjectAltNames: ["spiffe://td/ns/a/sa/b"], waypoint: ~,
   weightedWaypoints: [{destination: {destination: /10.0.0.5, hboneMtlsPort: 15008}, weight: 3}],
   ipFamilies: IPv6, canonical: true, visibility: Namespace}
policies:
- {name: p, namespace: a, scope: WorkloadSelector, action: Allow, dryRun: true, rules: [[[{
    namespaces: [!Exact "x"], notNamespaces: [!Prefix "y"], principals: [!Suffix "/sa/z"], notPrincipals: [!Presence []],
    serviceAccounts: [{namespace: a, serviceAccount: b}], notServiceAccounts: [], sourceIps: ["10.1.2.3/8"],
    notSourceIps: ["10.1.2.3"], destinationIps: ["::/0"], notDestinationIps: [], destinationPorts: [80], notDestinationPorts: [81]}]]]}
`)
  if (config.kind === 'findings') throw new Error(config.findings.map(formatFinding).join('\n'))
  const [workload] = config.workloads
  t.match(workload, {
    ...{ workloadIps: ['fd00::1', '10.0.0.1'], networkMode: 'HostNetwork', hostname: 'ext.example.com' },
    waypoint: { destination: { kind: 'hostname', namespace: 'a', hostname: 'wp.a' }, hboneMtlsPort: 15008 },
    networkGateway: {
      destination: { kind: 'address', network: 'net2', ip: '10.0.0.9' },
      hboneMtlsPort: 15443,
    },
    ...{
      nativeTunnel: true,
      applicationTunnel: { protocol: 'PROXY', port: 9 },
      status: 'Unhealthy',
      capacity: 0,
      sameNode: 'direct',
      labels: null,
    },
    ...{
      locality: { region: 'r', zone: 'z', subzone: 's' },
      canonicalRevision: 'v1',
      workloadType: 'deployment',
    },
  })
  t.match(config.services, [
    {
      ...{ hostname: 's.a', cidrVips: [{ network: '', cidr: '10.1.0.0/16' }], ports: { 80: 0, 81: 8081 } },
      ...{ weightedWaypoints: [{ weight: 3 }], ipFamilies: 'IPv6', canonical: true, visibility: 'Namespace' },
      waypoint: null,
    },
  ])
  t.match(config.policies[0]?.rules[0]?.[0]?.[0], {
    namespaces: [{ kind: 'exact', value: 'x' }],
    notNamespaces: [{ kind: 'prefix', value: 'y' }],
    principals: [{ kind: 'suffix', value: '/sa/z' }],
    notPrincipals: [{ kind: 'presence' }],
    serviceAccounts: [{ namespace: 'a', serviceAccount: 'b' }],
    sourceIps: ['10.0.0.0/8'],
    notSourceIps: ['10.1.2.3/32'],
  })
})

t.test('nothing is an empty configuration, and defaults may be given', async (t) => {
  for (const text of ['', '# nothing\n', '{}', '---\n', 'workloads: []']) {
    t.same(parse(text), { kind: 'config', workloads: [], services: [], policies: [] }, JSON.stringify(text))
  }
  const options = { file: 'f', trustDomain: 'td', serviceAccount: 'default' }
  const config = parseLocalConfig('workloads: [{workloadIps: [], namespace: a, services: {}}]', options)
  t.match(config, { workloads: [{ trustDomain: 'td', serviceAccount: 'default', uid: /^file\/\// }] })
})

const MISTAKES: [string, string][] = [
  ['workload: []', 'mesh.yaml:1:1: workload: unknown field; did you mean "workloads"?'],
  ['workloads: {}', 'mesh.yaml:1:12: workloads: expected a list, found a map'],
  ['- x', 'mesh.yaml:1:1: expected a map, found a list'],
  ['services: 5', 'mesh.yaml:1:11: services: expected a list, found the number 5'],
  ['workloads: [{namespace: a, services: {}}]', 'workloads[0].workloadIps: required field is missing'],
  [
    'workloads:\n- {workloadIps: ["10.0.0.999"], namespace: a, services: {}}',
    'mesh.yaml:2:18: workloads[0].workloadIps[0]: no IP address: "10.0.0.999"',
  ],
  [
    'workloads: [{workloadIps: [], namespace: 5, services: {}}]',
    'namespace: expected text, found the number 5',
  ],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {}, protocol: HBON}]',
    'found "HBON"; did you mean "HBONE"?',
  ],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {}, capacity: -1}]',
    'capacity: expected a whole number from 0 to 4294967295, found -1',
  ],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {}, nativeTunnel: "yes"}]',
    'expected true or false, found text "yes"',
  ],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {cart: {}}}]',
    'expected "<namespace>/<hostname>", found "cart"',
  ],
  ['workloads: [{workloadIps: [], namespace: a, services: {a/b: {0: 1}}}]', 'no port: "0"'],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {a/b: {80: 70000}}}]',
    'expected a whole number from 0 to 65535',
  ],
  ['workloads: [{workloadIps: [], namespace: a/b, services: {}}]', 'only letters, digits'],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {}, locality: {region: x}}]',
    'locality.zone: required field is missing',
  ],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {}, waypoint: {destination: wp, hboneMtlsPort: 1}}]',
    'found "wp"; did you mean "/wp"?',
  ],
  [
    'workloads: [{workloadIps: [], namespace: a, services: {}, waypoint: {destination: "a/-"}}]',
    'waypoint.hboneMtlsPort: required field is missing',
  ],
  [
    'services: [{name: a, namespace: a, hostname: a, vips: ["10.0.0.1"], ports: {}}]',
    'did you mean "/10.0.0.1"?',
  ],
  ['services: [{name: a, namespace: a, hostname: "a b", vips: [], ports: {}}]', 'no host name: "a b"'],
  [
    'services: [{name: a, namespace: a, hostname: a, vips: [], ports: {}, loadBalancer: {mode: Strict}}]',
    'loadBalancer.routingPreferences: required',
  ],
  [
    'policies: [{name: a, namespace: a, scope: Global, action: Deny, dryRun: false}]',
    'policies[0].rules: required field is missing',
  ],
  [
    'policies: [{name: a, namespace: a, scope: Global, action: Deny, dryRun: false, rules: [[[{principals: [x]}]]]}]',
    'did you mean "!Exact \\"x\\""?',
  ],
  [
    'policies: [{name: a, namespace: a, scope: Global, action: Deny, dryRun: false, rules: [[[{principals: [!Exakt "x"]}]]]}]',
    'Unresolved tag: !Exakt',
  ],
  [
    'policies: [{name: a, namespace: a, scope: Global, action: Deny, dryRun: false, rules: [[[{principals: [{Exact: x}]}]]]}]',
    'expected !Exact "x"',
  ],
  [
    'policies: [{name: a, namespace: a, scope: Global, action: Deny, dryRun: false, rules: [[[{sourceIps: [10/8]}]]]}]',
    'no IP prefix: "10/8"',
  ],
  [
    'policies: [{name: a, namespace: a, scope: Global, action: Deny, dryRun: false, rules: [[{}]]}]',
    'rules[0][0]: expected a list, found a map',
  ],
  [
    'policies: [{name: !Exact "a", namespace: a, scope: Global, action: Deny, dryRun: false, rules: []}]',
    'expected text, found a value with tag "!Exact"',
  ],
  ['workloads: []\nworkloads: []', 'mesh.yaml:2:1: workloads: the key stands twice in this map'],
  ['workloads: *nowhere', 'nowhere'],
  ['workloads: [', 'mesh.yaml:1:'],
  ['a: 1\n---\nb: 2', 'multiple documents'],
]

t.test('each mistake is named with its line, its column and its field', async (t) => {
  for (const [text, expected] of MISTAKES) {
    const found = findings(text)
    t.ok(
      found.some((line) => line.includes(expected)),
      `${expected} in ${found.join(' | ') || 'no finding'}`,
    )
  }
})

t.test('what is defined twice is named with its first place', async (t) => {
  const workload = (uid: string, ip: string): string =>
    `- {uid: ${uid}, workloadIps: ["${ip}"], namespace: a, services: {}}`
  t.match(findings(`workloads:\n${workload('u', '10.0.0.1')}\n${workload('u', '10.0.0.2')}`), [
    'mesh.yaml:3:3: workloads[1].uid: the uid "u" stands already in workloads[0].uid',
  ])
  t.match(findings(`workloads:\n${workload('u', '10.0.0.1')}\n${workload('v', '10.0.0.1')}`), [
    /workload address "\/10.0.0.1"/,
  ])
  const service = '- {name: s, namespace: a, hostname: s, vips: [], ports: {}}'
  t.match(findings(`services:\n${service}\n${service}`), [
    /the service "a\/s" stands already in services\[0\]/,
  ])
  const policy = '- {name: p, namespace: a, scope: Global, action: Deny, dryRun: false, rules: []}'
  t.match(findings(`policies:\n${policy}\n${policy}`), [/the policy "a\/p"/])
})

t.test('all mistakes are reported together, in the order of the file, but not endlessly', async (t) => {
  const text = `services: [{name: 1, namespace: a, hostname: a, vips: [], ports: {}}]
workloads: [{workloadIps: [x], namespce: a, services: {}}]`
  t.same(
    findings(text).map((line) => line.split(': ')[1]),
    ['services[0].name', 'workloads[0].namespace', 'workloads[0].workloadIps[0]', 'workloads[0].namespce'],
  )
  t.equal(findings(`workloads: [${'5, '.repeat(1000)}]`).length, 100)
})

t.test('anchors work, and bombs cost little', async (t) => {
  const shared = `workloads:
- {uid: a, workloadIps: [], namespace: &ns shop, services: &none {}}
- {uid: b, workloadIps: [], namespace: *ns, services: *none}`
  t.match(parse(shared), { workloads: [{ namespace: 'shop' }, { namespace: 'shop' }] })
  const twice = 'workloads: [{workloadIps: [], namespace: &n a, services: &n {}, uid: *n}]'
  t.ok(findings(twice).some((line) => line.includes('the anchor &n stands twice')))
  const levels = Array.from(
    { length: 30 },
    (_, n) => `l${n}: &l${n} [${`*l${n - 1}, `.repeat(n === 0 ? 0 : 9)}]`,
  )
  t.ok(findings(`${levels.join('\n')}\npolicies: *l29`).length > 0)
  const cyclic =
    'policies: [{name: a, namespace: a, scope: Global, action: Deny, dryRun: false, rules: &r [*r]}]'
  t.ok(findings(cyclic).length > 0)
  t.ok(findings('['.repeat(20_000)).length > 0, 'deep nesting')
  t.match(findings('x'.repeat(17 * 1024 * 1024)), [/more than 16777216 characters/])
})
