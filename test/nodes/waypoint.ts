import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t from 'tap'
import { Cluster } from '../support/cluster.ts'
import { ROOT } from '../support/documents.ts'
import { keepEvidence } from '../support/lab-evidence.ts'
import { poll } from '../support/mesh-lab.ts'

const SYSTEM = 'istio-system'
const NODES = ['node1', 'node2']
const STORY_MS = 400_000
const WAIT_MS = 90_000
const GATEWAY = 'sidestep-waypoint'
/** Of the split. Of 200 requests with a share of 10 %, fewer or more come less than once in a million runs. */
const SPLIT = { requests: 200, least: 3, most: 45 }

t.setTimeout(STORY_MS)
const cluster = await Cluster.open({ nodes: NODES })
t.teardown(() => cluster.close())
t.afterEach((step) => {
  if (!step.passing()) t.comment(`everything is kept in ${keepEvidence(cluster, NODES, step.name)}`)
})
const kubectl = (...args: readonly string[]): Promise<string> => cluster.kubectl(...args)

/** A server that says its version, the path it was asked for and who asked; /flaky fails every other time. */
const server = (version: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: cart-${version}, namespace: shop, labels: {app: cart, version: ${version}}}
spec:
  serviceAccountName: cart
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: localhost/node:1
    imagePullPolicy: Never
    command:
    - node
    - -e
    - |
      let count = 0
      require('http').createServer((request, answer) => {
        if (request.url === '/flaky' && count++ % 2 === 0) answer.writeHead(503)
        answer.end('${version} ' + request.url + ' ' + (request.headers['x-forwarded-client-cert'] || '-') + '\\n')
      }).listen(8080)
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`
const service = (name: string, selector: string): string =>
  `{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: shop}, ` +
  `spec: {selector: ${selector}, ports: [{name: http, port: 80, targetPort: 8080}]}}`
const ASK = 'curl -s -S -f -m 5 -o /dev/null http://cart/ 2>&1'
/** Asks all the time, and says how each request ended. */
const CALLS = `while :; do why=$(${ASK}) && echo answered || echo "failed at $(date +%T): $why"; sleep 0.05; done`
const caller = (name: string, labels: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: shop, labels: ${labels}}
spec:
  serviceAccountName: ${name}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: localhost/tools:1
    imagePullPolicy: Never
    command: [sh, -c, '${CALLS}']
`
const OBJECTS = [
  '{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {sidestep.dev/mode: ambient}}}',
  ...['cart', 'front', 'plain'].map(
    (name) => `{apiVersion: v1, kind: ServiceAccount, metadata: {name: ${name}, namespace: shop}}`,
  ),
  service('cart', '{app: cart}'),
  service('cart-v1', '{app: cart, version: v1}'),
  service('cart-v2', '{app: cart, version: v2}'),
  server('v1'),
  server('v2'),
  caller('front', '{app: front}'),
  caller('plain', '{app: plain, sidestep.dev/mode: none}'),
].join('\n---\n')
const ROUTE = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: cart}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /split}}]
    backendRefs: [{name: cart-v1, port: 80, weight: 90}, {name: cart-v2, port: 80, weight: 10}]
  - backendRefs: [{name: cart-v1, port: 80}]
`
const RETRY = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  http:
  - retries: {attempts: 2, retryOn: 5xx}
    headers: {response: {set: {x-routed: retried}}}
    route: [{destination: {host: cart-v1, port: {number: 80}}}]
`

const DENY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-secrets, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: cart}]
  action: DENY
  rules: [{to: [{operation: {paths: [/secret*]}}]}]
`
const ISSUER = 'https://issuer.example'
/** Tokens of this issuer; who calls /members needs one. */
const tokens = (jwks: string): string => `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: members, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: cart}]
  jwtRules: [{issuer: '${ISSUER}', jwks: '${jwks}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: members, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: cart}]
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ['*']}}], to: [{operation: {paths: [/members]}}]}]
`

/** What a shell in a pod of the shop says. */
const inPod = async (pod: string, script: string): Promise<string> =>
  (await kubectl('-n', 'shop', 'exec', pod, '--', 'sh', '-c', script)).trim()
const lastLine = (text: string): string => text.slice(text.lastIndexOf('\n') + 1)

/** How the requests of a caller have ended so far; of each failure when, and what curl said. */
interface Outcomes {
  readonly answered: number
  readonly failed: readonly string[]
}
async function outcomes(pod: string): Promise<Outcomes> {
  const lines = (await kubectl('-n', 'shop', 'logs', pod)).split('\n')
  const isAnswered = (line: string): boolean => line === 'answered'
  return {
    answered: lines.filter(isAnswered).length,
    failed: lines.filter((line) => line !== '' && !isAnswered(line)),
  }
}

/** Failures of both callers since `before`, once each was answered some more. */
async function failuresSince(before: readonly Outcomes[]): Promise<readonly string[]> {
  const failures = await Promise.all(
    ['front', 'plain'].map(async (pod, index) => {
      const { answered } = await outcomes(pod)
      const now = await poll(
        `answers for ${pod}`,
        async () => {
          const found = await outcomes(pod)
          return found.answered >= answered + 10 ? found : null
        },
        WAIT_MS,
      )
      return now.failed.slice(before[index]?.failed.length ?? 0).map((failure) => `${pod} ${failure}`)
    }),
  )
  return failures.flat()
}
const mark = (): Promise<Outcomes[]> => Promise.all(['front', 'plain'].map(outcomes))

/** Records of requests of all pods of the waypoint. */
async function records(): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const selector = `gateway.networking.k8s.io/gateway-name=${GATEWAY}`
  const names = await kubectl('-n', 'shop', 'get', 'pods', '-l', selector, '-o', 'name')
  const logs = await Promise.all(
    names
      .split('\n')
      .flatMap((name) => (name === '' ? [] : [kubectl('-n', 'shop', 'logs', name, '--tail=400')])),
  )
  return logs
    .flatMap((log) => log.split('\n'))
    .filter((line) => line.includes('"scope":"request"'))
    .map((line) => JSON.parse(line) as Record<string, unknown>) // as: our own records
}

t.test('the mesh and a shop without a waypoint', async (t) => {
  await cluster.loadSidestep()
  await kubectl('apply', '-f', join(ROOT, 'daemonset.yaml'))
  await kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=60s')
  await kubectl('-n', SYSTEM, 'rollout', 'status', 'daemonset/ztunnel', '--timeout=60s')
  await cluster.apply(OBJECTS)
  await kubectl('-n', 'shop', 'wait', 'pod', '--all', '--for=condition=Ready', '--timeout=60s')
  await failuresSince(await mark())
  t.match(await inPod('front', 'curl -s -m 5 http://cart/'), /^v[12] \/ -$/)
})

t.test('one annotation: a waypoint, and everybody goes through it', async (t) => {
  const before = await mark()
  const startedMs = Date.now()
  await kubectl('-n', 'shop', 'annotate', 'service', 'cart', 'sidestep.dev/waypoint=auto')
  const rollout = ['rollout', 'status', `deployment/${GATEWAY}`, '--timeout=60s'] as const
  await poll(
    'the waypoint ready',
    async () => (await kubectl('-n', 'shop', ...rollout).catch(() => '')).includes('successfully') || null,
    WAIT_MS,
  )
  const asked = 'curl -s -m 5 http://cart/'
  const seen = await poll(
    'front goes through it',
    async () => {
      const answer = await inPod('front', asked).catch(() => '')
      return answer.includes('URI=') ? answer : null
    },
    WAIT_MS,
  )
  t.match(seen, /URI=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front$/)
  t.comment(`every request of front goes through it ${Date.now() - startedMs} ms after the annotation`)
  const ip = await kubectl('-n', 'shop', 'get', 'pod', 'cart-v1', '-o', 'jsonpath={.status.podIP}')
  t.match(
    await inPod('front', `curl -s -m 5 http://${ip}:8080/pod`),
    /^v1 \/pod By=\S+;URI=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front$/,
    'who dials the pod too',
  )
  const cartIp = await kubectl('-n', 'shop', 'get', 'service', 'cart', '-o', 'jsonpath={.spec.clusterIP}')
  await inPod('plain', `curl -s -m 5 http://${cartIp}/plain`)
  t.ok(
    await poll(
      'the plain pod too',
      async () => (await records()).some(({ path }) => path === '/plain') || null,
    ),
    'a pod that is of no mesh is diverted',
  )
  t.same(await failuresSince(before), [], 'no request has failed')
})

t.test('a route shares requests 90 to 10', async (t) => {
  const before = await mark()
  await cluster.apply(ROUTE)
  await poll('the route in force', async () => {
    const answers = await inPod('front', 'for i in 1 2 3 4 5 6 7 8; do curl -s -m 5 http://cart/; done')
    return answers.split('\n').every((line) => line.startsWith('v1 ')) || null
  })
  const script = `for i in $(seq ${SPLIT.requests}); do curl -s -m 5 http://cart/split; done`
  const answers = (await inPod('front', script)).split('\n')
  const v2 = answers.filter((line) => line.startsWith('v2 ')).length
  t.equal(answers.length, SPLIT.requests)
  t.ok(v2 >= SPLIT.least && v2 <= SPLIT.most, `${v2} of ${SPLIT.requests}`)
  t.same(await failuresSince(before), [])
  const status = await kubectl(
    ...['-n', 'shop', 'get', 'httproute', 'cart', '-o'],
    'jsonpath={.status.parents[*].conditions[?(@.type=="Accepted")].status}',
  )
  t.equal(status, 'True')
})

t.test('what fails is tried again', async (t) => {
  await kubectl('-n', 'shop', 'delete', 'httproute', 'cart')
  await cluster.apply(RETRY)
  await poll(
    'retries in force',
    async () =>
      (await inPod('front', 'curl -s -m 5 -D - http://cart/')).includes('x-routed: retried') || null,
  )
  const codes = await inPod(
    'front',
    "for i in 1 2 3 4 5 6; do curl -s -m 5 -o /dev/null -w '%{http_code}\\n' http://cart/flaky; done",
  )
  t.same(codes.split('\n'), ['200', '200', '200', '200', '200', '200'])
  await kubectl('-n', 'shop', 'delete', 'virtualservice', 'cart')
})

t.test('policies of requests, and tokens', async (t) => {
  const before = await mark()
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }
  await cluster.apply(`${DENY}---${tokens(JSON.stringify({ keys: [jwk] }))}`)
  const status = async (path: string, ...headers: readonly string[]): Promise<string> =>
    await inPod(
      'front',
      `curl -s -m 5 -o /dev/null -w '%{http_code}' ${headers.map((each) => `-H '${each}'`).join(' ')} http://cart${path}`,
    )
  await poll('both policies in force', async () =>
    (await status('/secret/x')) === '403' && (await status('/members')) === '403' ? true : null,
  )
  const token = (issuer: string): Promise<string> =>
    new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .setIssuer(issuer)
      .setSubject('me')
      .setExpirationTime('1h')
      .sign(privateKey)
  t.equal(await status('/members', `authorization: Bearer ${await token(ISSUER)}`), '200')
  t.equal(await status('/members', `authorization: Bearer ${(await token(ISSUER)).slice(0, -4)}AAAA`), '401')
  t.equal(await status('/'), '200')
  t.same(await failuresSince(before), [])
  await kubectl('-n', 'shop', 'delete', 'authorizationpolicies,requestauthentications', '--all')
  await poll('they are gone', async () => ((await status('/secret/x')) === '200' ? true : null))
})

t.test('the annotation is taken away: the waypoint goes, and no request fails', async (t) => {
  const before = await mark()
  await kubectl('-n', 'shop', 'annotate', 'service', 'cart', 'sidestep.dev/waypoint-')
  await poll(
    'front goes straight',
    async () => lastLine(await inPod('front', 'curl -s -m 5 http://cart/')).endsWith(' -') || null,
  )
  await poll(
    'its objects gone',
    async () => {
      const kinds = 'deployments,services,serviceaccounts,poddisruptionbudgets,gateways,pods'
      const left = await kubectl('-n', 'shop', 'get', kinds, '-o', 'name')
      return left.includes(GATEWAY) ? null : true
    },
    WAIT_MS,
  )
  t.same(await failuresSince(before), [])
})
