// SPDX-License-Identifier: Apache-2.0
// Objects of each kind as tutorials write them, and what they do to requests: canaries, headers, faults, copies, timeouts,
// circuit breakers, tokens, policies.
import t from 'tap'
import { WaypointAsker } from '../support/waypoint-asker.ts'

const SERVICES = {
  reviews: { ip: '10.96.0.1', versions: ['v1', 'v2', 'v3'], port: 9080 },
  ratings: { ip: '10.96.0.2', versions: ['v1', 'v2'], port: 9080 },
  httpbin: { ip: '10.96.0.3', versions: ['v1', 'v2'], port: 8000 },
  website: { ip: '10.96.0.4' },
  'website-v2': { ip: '10.96.0.5' },
  greeter: { ip: '10.96.0.6', portName: 'grpc' },
  db: { ip: '10.96.0.7', versions: ['v1', 'v2'], portName: 'tcp', port: 5432 },
  secure: { ip: '10.96.0.8', portName: 'tls', port: 443 },
} as const
const SUBSETS = (host: string, ...versions: string[]): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${host}, namespace: shop }
spec:
  host: ${host}
  subsets:
${versions.map((version) => `  - { name: ${version}, labels: { version: ${version} } }`).join('\n')}
`
const asker = (...objects: string[]): WaypointAsker => new WaypointAsker(SERVICES, objects.join('\n---\n'))
const cluster = (name: string, port: number, subset = ''): string =>
  `shop/${name}.shop.svc.cluster.local|${port}|${subset}`

t.test('VirtualService: one reader sees version 2, everybody else version 1', async (t) => {
  for (const version of ['v1', 'v1beta1', 'v1alpha3']) {
    const shop = asker(
      SUBSETS('reviews', 'v1', 'v2', 'v3'),
      `
apiVersion: networking.istio.io/${version}
kind: VirtualService
metadata: { name: reviews, namespace: shop }
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v1`,
    )
    t.match(shop.ask({ to: 'reviews', headers: { 'end-user': 'jason' } }), {
      to: cluster('reviews', 9080, 'v2'),
    })
    t.match(shop.ask({ to: 'reviews', headers: { 'end-user': 'jane' } }), {
      to: cluster('reviews', 9080, 'v1'),
    })
    t.same(shop.cluster(cluster('reviews', 9080, 'v2')).pods, ['reviews-v2'])
  }
})

t.test('VirtualService: half of the traffic moves to version 3', async (t) => {
  const shop = asker(
    SUBSETS('reviews', 'v1', 'v3'),
    `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: shop }
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: { host: reviews, subset: v1 }
      weight: 50
    - destination: { host: reviews, subset: v3 }
      weight: 50`,
  )
  t.match(shop.ask({ to: 'reviews' }, 0.49), { to: cluster('reviews', 9080, 'v1') })
  t.match(shop.ask({ to: 'reviews' }, 0.51), { to: cluster('reviews', 9080, 'v3') })
})

t.test('VirtualService: a delay and an abort for one reader', async (t) => {
  const fault = (what: string): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ratings, namespace: shop }
spec:
  hosts:
  - ratings
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    fault:
${what}
    route:
    - destination: { host: ratings, subset: v1 }
  - route:
    - destination: { host: ratings, subset: v1 }`
  const jason = { to: 'ratings', headers: { 'end-user': 'jason' } }
  const slow = asker(
    SUBSETS('ratings', 'v1'),
    fault('      delay:\n        percentage: { value: 100.0 }\n        fixedDelay: 7s'),
  )
  t.match(slow.ask(jason), { kind: 'forward', delayMs: 7000 })
  t.match(slow.ask({ to: 'ratings' }), { kind: 'forward', delayMs: 0 })
  const broken = asker(
    SUBSETS('ratings', 'v1'),
    fault('      abort:\n        httpStatus: 500\n        percentage: { value: 100.0 }'),
  )
  t.match(broken.ask(jason), { kind: 'refused', refusal: { code: 'FAULT_INJECTED' }, abort: { status: 500 } })
})

t.test('VirtualService: a timeout, retries, a copy of everything', async (t) => {
  const timed = asker(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ratings, namespace: shop }
spec:
  hosts: [ratings]
  http:
  - route:
    - destination: { host: ratings }
    timeout: 0.5s
    retries:
      attempts: 3
      perTryTimeout: 2s
      retryOn: connect-failure,refused-stream,503`)
  const asked = timed.ask({ to: 'ratings' })
  t.match(asked, { to: cluster('ratings', 9080), timeoutMs: 500, attemptTimeoutMs: 2000, attempts: 3 })
  const mirrored = asker(
    SUBSETS('httpbin', 'v1', 'v2'),
    `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: httpbin, namespace: shop }
spec:
  hosts:
  - httpbin
  http:
  - route:
    - destination: { host: httpbin, subset: v1 }
      weight: 100
    mirror: { host: httpbin, subset: v2 }
    mirrorPercentage: { value: 100.0 }`,
  )
  t.match(mirrored.ask({ to: 'httpbin' }), {
    to: cluster('httpbin', 8000, 'v1'),
    mirrors: [['shop/httpbin.shop.svc.cluster.local', 1_000_000]],
  })
})

t.test('DestinationRule: a circuit breaker', async (t) => {
  const shop = asker(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: httpbin, namespace: shop }
spec:
  host: httpbin
  trafficPolicy:
    connectionPool:
      tcp: { maxConnections: 1 }
      http: { http1MaxPendingRequests: 1, maxRequestsPerConnection: 1 }
    outlierDetection: { consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100 }`)
  const { pods, policy } = shop.cluster(cluster('httpbin', 8000))
  t.same(pods, ['httpbin-v1', 'httpbin-v2'])
  t.match(policy, {
    pool: { maxConnections: 1, maxPendingRequests: 1, maxRequestsPerConnection: 1 },
    outlier: { consecutive5xx: 1, maxEjectionPercent: 100 },
  })
})

t.test('TrafficSplit: nine of ten to the old one', async (t) => {
  const shop = asker(`
apiVersion: split.smi-spec.io/v1alpha1
kind: TrafficSplit
metadata: { name: canary, namespace: shop }
spec:
  service: website
  backends:
  - { service: website, weight: 900m }
  - { service: website-v2, weight: 100m }`)
  t.match(shop.ask({ to: 'website' }, 0.89), { to: cluster('website', 80) })
  t.match(shop.ask({ to: 'website' }, 0.91), { to: cluster('website-v2', 80) })
})

t.test('HTTPRoute: weights, paths and headers; header changes; a redirect', async (t) => {
  const route = (rules: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: website, namespace: shop }
spec:
  parentRefs:
  - { group: "", kind: Service, name: website, port: 80 }
  rules:
${rules}`
  const split = asker(
    route(`  - backendRefs:
    - { name: website, port: 80, weight: 90 }
    - { name: website-v2, port: 80, weight: 10 }`),
  )
  t.match(split.ask({ to: 'website' }, 0.89), { to: cluster('website', 80) })
  t.match(split.ask({ to: 'website' }, 0.91), { to: cluster('website-v2', 80) })
  const matched = asker(
    route(`  - matches:
    - path: { type: PathPrefix, value: /beta }
      headers: [{ name: x-user, value: tester }]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: { add: [{ name: x-seen, value: "yes" }], remove: [x-secret] }
    - type: URLRewrite
      urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } }
    backendRefs: [{ name: website-v2, port: 80 }]
  - matches:
    - path: { type: Exact, value: /old }
    filters:
    - type: RequestRedirect
      requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: /new }, statusCode: 301 }
  - backendRefs: [{ name: website, port: 80 }]`),
  )
  const tester = { 'x-user': 'tester', 'x-secret': 'a' }
  const asked = matched.ask({ to: 'website', path: '/beta/cart', headers: tester })
  t.match(asked, { to: cluster('website-v2', 80), headers: { ':path': '/cart', 'x-seen': 'yes' } })
  t.notOk('headers' in asked && 'x-secret' in asked.headers)
  t.match(matched.ask({ to: 'website', path: '/beta/cart' }), { to: cluster('website', 80) })
  t.match(matched.ask({ to: 'website', path: '/old' }), { kind: 'answer', headers: [':status', '301'] })
})

t.test('GRPCRoute: one method goes elsewhere', async (t) => {
  const shop = asker(`
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: greeter, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: greeter, port: 80 }]
  rules:
  - matches:
    - method: { service: helloworld.Greeter, method: SayHello }
    backendRefs: [{ name: greeter, port: 80 }]`)
  const call = { to: 'greeter', method: 'POST', headers: { 'content-type': 'application/grpc' } }
  t.match(shop.ask({ ...call, path: '/helloworld.Greeter/SayHello' }), { to: cluster('greeter', 80) })
  t.match(shop.ask({ ...call, path: '/helloworld.Greeter/SayBye' }), { refusal: { code: 'ROUTE_NOT_FOUND' } })
})

t.test('TCPRoute, TLSRoute, VirtualService tcp: connections by weight and by server name', async (t) => {
  const virtual = asker(
    SUBSETS('db', 'v1', 'v2'),
    `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: db, namespace: shop }
spec:
  hosts: [db]
  tcp:
  - match: [{ port: 5432 }]
    route:
    - { destination: { host: db, port: { number: 5432 }, subset: v1 }, weight: 80 }
    - { destination: { host: db, port: { number: 5432 }, subset: v2 }, weight: 20 }`,
  )
  t.match(virtual.connect('db', '', 0.79), { backend: { subset: 'v1' } })
  t.match(virtual.connect('db', '', 0.81), { backend: { subset: 'v2' } })
  const routed = asker(`
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: { name: db, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: db, port: 5432 }]
  rules:
  - backendRefs: [{ name: db, port: 5432 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { name: secure, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: secure, port: 443 }]
  hostnames: ["a.example.com"]
  rules:
  - backendRefs: [{ name: secure, port: 443 }]`)
  t.match(routed.connect('db', ''), { backend: { service: 'shop/db.shop.svc.cluster.local', port: 5432 } })
  t.ok(routed.target('secure').asksServerName)
  t.match(routed.connect('secure', 'a.example.com'), { backend: { port: 443 } })
  t.match(routed.connect('secure', 'b.example.com'), { code: 'ROUTE_NOT_FOUND' })
})

t.test(
  'RequestAuthentication and AuthorizationPolicy: a token of one issuer, one group, for one path',
  async (t) => {
    const shop = asker(`
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: jwt-example, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: httpbin }]
  jwtRules:
  - issuer: "testing@secure.istio.io"
    jwksUri: "https://keys.example.com/jwks.json"
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: require-jwt, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: httpbin }]
  action: ALLOW
  rules:
  - from:
    - source:
        requestPrincipals: ["testing@secure.istio.io/testing@secure.istio.io"]
    to:
    - operation:
        methods: ["GET"]
        paths: ["/headers"]
    when:
    - key: request.auth.claims[groups]
      values: ["group1"]`)
    t.notOk(shop.target('httpbin').guard.tokens.isEmpty)
    const account = 'testing@secure.istio.io'
    const claims = { iss: account, sub: account, groups: ['group1', 'group2'] }
    const allowed = { to: 'httpbin', path: '/headers', claims }
    t.match(shop.ask(allowed), { kind: 'forward' })
    t.match(shop.ask({ ...allowed, claims: null }), { kind: 'denied', code: 'POLICY_NO_ALLOW' })
    t.match(shop.ask({ ...allowed, method: 'POST' }), { kind: 'denied', code: 'POLICY_NO_ALLOW' })
    t.match(shop.ask({ ...allowed, claims: { ...claims, groups: ['group3'] } }), { kind: 'denied' })
  },
)

t.test('AuthorizationPolicy: only one account may GET; nobody sees the admin pages', async (t) => {
  const shop = asker(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: viewer, namespace: shop }
spec:
  targetRefs:
  - kind: Service
    group: ""
    name: website
  action: ALLOW
  rules:
  - from:
    - source:
        principals:
        - cluster.local/ns/web/sa/front
    to:
    - operation:
        methods: ["GET"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-admin, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: website }]
  action: DENY
  rules:
  - to: [{ operation: { paths: ["/admin*"] } }]`)
  t.match(shop.ask({ to: 'website' }), { kind: 'forward' })
  t.match(shop.ask({ to: 'website', method: 'DELETE' }), { kind: 'denied', policy: 'shop/viewer' })
  t.match(shop.ask({ to: 'website', identity: 'spiffe://cluster.local/ns/web/sa/other' }), { kind: 'denied' })
  t.match(shop.ask({ to: 'website', path: '/admin/users' }), { kind: 'denied', code: 'POLICY_DENY' })
})
