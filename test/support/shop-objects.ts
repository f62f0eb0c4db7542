// SPDX-License-Identifier: Apache-2.0
// A shop of real services as Kubernetes objects, so placed that calls cross the link between two nodes: front and redis
// on node1, what they talk to on node2; orders on both. The programs are in test/nodes/shop, run by the image under test.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Where the shop lives. */
export const SHOP = 'shop'
const PROGRAMS = join(import.meta.dirname, '..', 'nodes', 'shop')
const IMAGE = 'docker.io/sidestep/sidestep:0.1.0' // Node and the packages of the lock file
const NODE = '/usr/local/bin/node'
const HOST_PORT = 18_090

/** What front calls. `plain` and `host` are outside of the mesh. */
export const TARGETS = {
  cart: 'http://cart/',
  redis: 'redis://redis:6379',
  catalog: 'grpc://catalog:9000',
  mail: 'smtp://mail:25',
  orders: 'http://orders:8080/',
  'orders-0': 'http://orders-0.orders:8080/',
  plain: 'http://plain/',
  host: `http://host:${HOST_PORT}/`,
} as const

/** Who calls whom: account of the caller, account of the called. */
export const PAIRS = [
  ['front', 'cart'],
  ['front', 'redis'],
  ['front', 'catalog'],
  ['front', 'mail'],
  ['front', 'orders'],
  ['cart', 'redis'],
] as const

/** Who is in the mesh when the shop's namespace is. */
export const MEMBERS = ['front', 'cart', 'redis', 'catalog', 'mail', 'orders']
/** Callers that never are. */
export const OUTSIDERS = ['plain', 'host']

type Json = Readonly<Record<string, unknown>>

const object = (apiVersion: string, kind: string, name: string, rest: Json): Json => ({
  apiVersion,
  kind,
  metadata: { name, namespace: SHOP },
  ...rest,
})
const environment = (values: Readonly<Record<string, string>>): readonly Json[] =>
  Object.entries(values).map(([name, value]) => ({ name, value }))
const service = (name: string, port: number, targetPort: number, rest: Json = {}): Json =>
  object('v1', 'Service', name, { spec: { selector: { app: name }, ports: [{ port, targetPort }], ...rest } })

/** A container that runs one of the programs. */
function program(file: string, values: Readonly<Record<string, string>>, rest: Json = {}): Json {
  return {
    name: file.replace('.mjs', ''),
    image: IMAGE,
    imagePullPolicy: 'Never',
    command: [NODE, `/app/shop/${file}`],
    env: environment(values),
    volumeMounts: [
      { name: 'programs', mountPath: '/app/shop' },
      { name: 'report', mountPath: '/report' },
    ],
    ...rest,
  }
}

const caller = (targets: Readonly<Record<string, string>>): Json =>
  program('caller.mjs', { TARGETS: JSON.stringify(targets) })

/** A pod's template. */
function template(app: string, containers: readonly Json[], spec: Json, labels: Json = {}): Json {
  const volumes = [
    { name: 'programs', configMap: { name: 'programs' } },
    { name: 'report', emptyDir: {} },
  ]
  return {
    metadata: { labels: { app, ...labels } },
    spec: { serviceAccountName: app, containers, volumes, ...spec },
  }
}

function deployment(app: string, containers: readonly Json[], spec: Json, labels: Json = {}): Json {
  return object('apps/v1', 'Deployment', app, {
    spec: {
      selector: { matchLabels: { app } },
      strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: template(app, containers, spec, labels),
    },
  })
}

const account = (name: string): Json => object('v1', 'ServiceAccount', name, {})
const on = (node: string): Json => ({ nodeSelector: { 'kubernetes.io/hostname': node } })
/** A caller has nothing to finish. */
const ENDS_AT_ONCE = { terminationGracePeriodSeconds: 0 }
const listens = (port: number): Json => ({ readinessProbe: { tcpSocket: { port }, periodSeconds: 1 } })
const answers = (port: number): Json => ({
  readinessProbe: { httpGet: { path: '/ready', port }, periodSeconds: 1 },
})
/** Every kind of probe that goes through the network, and who forgives a kubelet ten seconds. */
const PATIENT = { periodSeconds: 1, failureThreshold: 10 }
const alive = (port: number): Json => ({
  readinessProbe: { httpGet: { path: '/ready', port }, ...PATIENT },
  livenessProbe: { httpGet: { path: '/ready', port }, ...PATIENT },
})
const grpcAlive = (port: number): Json => ({
  readinessProbe: { grpc: { port }, ...PATIENT },
  livenessProbe: { grpc: { port }, ...PATIENT },
  startupProbe: { tcpSocket: { port }, periodSeconds: 1, failureThreshold: 60 },
})
const web = (marker: string, port: number): Json =>
  program('web.mjs', { MARKER: `marker-of-${marker}`, PORT: `${port}` }, answers(port))

const list = (items: readonly Json[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })

/** The whole shop, as JSON to apply. */
export function shopObjects(): string {
  const files = readdirSync(PROGRAMS).map((name) => [name, readFileSync(join(PROGRAMS, name), 'utf8')])
  const redis = {
    name: 'redis',
    image: 'localhost/redis:1',
    imagePullPolicy: 'Never',
    args: ['--protected-mode', 'no', '--save', ''],
    ...listens(6379),
  }
  const host = { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet', ...on('node2'), ...ENDS_AT_ONCE }
  return list([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: SHOP } },
    object('v1', 'ConfigMap', 'programs', { data: Object.fromEntries(files) }),
    ...['front', 'cart', 'redis', 'catalog', 'mail', 'orders', 'plain', 'host', 'job'].map(account),
    service('cart', 80, 8080),
    service('redis', 6379, 6379),
    service('catalog', 9000, 9000),
    service('mail', 25, 2525),
    service('orders', 8080, 8080, { clusterIP: 'None' }),
    service('plain', 80, 8080),
    service('host', HOST_PORT, HOST_PORT),
    deployment('redis', [redis], on('node1')),
    deployment('cart', [program('cart.mjs', { PORT: '8080' }, alive(8080))], on('node2')),
    deployment('catalog', [program('catalog.mjs', { PORT: '9000' }, grpcAlive(9000))], on('node2')),
    deployment('mail', [program('mail.mjs', { PORT: '2525' }, listens(2525))], on('node2')),
    object('apps/v1', 'StatefulSet', 'orders', {
      spec: {
        serviceName: 'orders',
        replicas: 2,
        podManagementPolicy: 'Parallel',
        selector: { matchLabels: { app: 'orders' } },
        template: template('orders', [web('orders', 8080)], spread('orders')),
      },
    }),
    deployment('front', [caller(TARGETS)], { ...on('node1'), ...ENDS_AT_ONCE }),
    deployment('plain', [web('plain', 8080), caller({ cart: TARGETS.cart })], on('node2'), {
      'sidestep.dev/mode': 'none',
    }),
    deployment('host', [web('host', HOST_PORT), caller({ cart: TARGETS.cart })], host),
  ])
}

function spread(app: string): Json {
  const labelSelector = { matchLabels: { app } }
  const topologyKey = 'kubernetes.io/hostname'
  return {
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey, whenUnsatisfiable: 'DoNotSchedule', labelSelector },
    ],
  }
}

/** A Job that calls cart once. */
export function shopJob(name: string): string {
  const container = {
    name: 'main',
    image: 'localhost/tools:1',
    imagePullPolicy: 'Never',
    command: ['curl', '-sSf', '-m', '8', TARGETS.cart],
  }
  const spec = { ...on('node1'), restartPolicy: 'Never' }
  return JSON.stringify(
    object('batch/v1', 'Job', name, {
      spec: { backoffLimit: 0, template: template('job', [container], spec) },
    }),
  )
}

/** Pods that all start at once; the first deed of each is a call of cart, and who fails is started again. */
export function crowd(replicas: number): string {
  const container = {
    name: 'main',
    image: 'localhost/tools:1',
    imagePullPolicy: 'Never',
    command: ['sh', '-c', `curl -sSf -m 8 ${TARGETS.cart} && exec sleep 3600`],
  }
  const spec = {
    replicas,
    selector: { matchLabels: { app: 'crowd' } },
    template: template('crowd', [container], ENDS_AT_ONCE),
  }
  return list([account('crowd'), object('apps/v1', 'Deployment', 'crowd', { spec })])
}

/** A pod for a kubelet to read from a file, where it has no account of its own: it calls cart all the time. */
export function filePod(name: string): string {
  const container = {
    name: 'main',
    image: 'localhost/tools:1',
    imagePullPolicy: 'Never',
    command: ['sh', '-c', `while :; do curl -s -m 8 -o /dev/null ${TARGETS.cart}; sleep 0.2; done`],
  }
  const metadata = { name, namespace: SHOP, labels: { app: name } }
  return JSON.stringify({
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata,
    spec: { containers: [container], ...ENDS_AT_ONCE },
  })
}

/** Servers on node2, three of each kind, and who calls them from node1, so many times a second in all. */
export function rush(rate: number): string {
  const kinds = [
    ['till', 'finishes'],
    ['kiosk', 'at-once'],
  ] as const
  const servers = kinds.flatMap(([name, ENDS]) => {
    const server = program('till.mjs', { PORT: '8080', MARKER: name, ENDS }, answers(8080))
    const made = deployment(name, [server], on('node2')) as { readonly spec: Json } // as: made above
    return [account(name), service(name, 80, 8080), { ...made, spec: { ...made.spec, replicas: 3 } }]
  })
  const targets = Object.fromEntries(kinds.map(([name]) => [name, `http://${name}/`]))
  const caller = program('rush.mjs', { TARGETS: JSON.stringify(targets), RATE: `${rate}` })
  return list([
    account('rush'),
    ...servers,
    deployment('rush', [caller], { ...on('node1'), ...ENDS_AT_ONCE }),
  ])
}

/** A server on node2, and who calls it from node1; nobody else knows them. */
export function lonelyPair(): string {
  return list([
    ...['visitor', 'island'].map(account),
    service('island', 80, 8080),
    deployment('island', [web('island', 8080)], on('node2')),
    deployment('visitor', [caller({ island: 'http://island/' })], { ...on('node1'), ...ENDS_AT_ONCE }),
  ])
}

const policy = (kind: string, name: string, app: string, spec: Json): string =>
  JSON.stringify(
    object('security.istio.io/v1', kind, name, { spec: { selector: { matchLabels: { app } }, ...spec } }),
  )

/** cart refuses front. */
export const DENY_FRONT = policy('AuthorizationPolicy', 'no-front', 'cart', {
  action: 'DENY',
  rules: [{ from: [{ source: { principals: [`cluster.local/ns/${SHOP}/sa/front`] } }] }],
})

/** cart takes what it would anyway: a policy that changes nothing. */
export const PERMISSIVE_CART = policy('PeerAuthentication', 'permissive', 'cart', {
  mtls: { mode: 'PERMISSIVE' },
})

/** catalog too: what its kubelet asks is gRPC. */
export const STRICT_CATALOG = policy('PeerAuthentication', 'strict-catalog', 'catalog', {
  mtls: { mode: 'STRICT' },
})

/** cart takes nothing in plain text. */
export const STRICT_CART = policy('PeerAuthentication', 'strict', 'cart', { mtls: { mode: 'STRICT' } })
