// SPDX-License-Identifier: Apache-2.0
// Policies of requests and tokens, as their users meet them: real processes, a controller, ztunnels of two nodes, keys inline and
// behind an address.
import t, { type Test } from 'tap'
import { poll } from '../support/mesh-lab.ts'
import { KeyServer, SigningKey } from '../support/token-issuer.ts'
import { CART_IP, identity } from '../support/waypoint-lab.ts'
import { type HttpAnswer, WaypointMesh } from '../support/waypoint-mesh.ts'

const FOR_WEB = 'targetRefs: [{group: "", kind: Service, name: web}]'
const policy = (name: string, action: string, rules: string, annotations = '{}'): string =>
  '{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, ' +
  `metadata: {name: ${name}, namespace: shop, annotations: ${annotations}}, ` +
  `spec: {${FOR_WEB}, action: ${action}, rules: ${rules}}}`
const authentication = (rule: string): string =>
  '{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: tokens, namespace: shop}, ' +
  `spec: {${FOR_WEB}, jwtRules: [${rule}]}}`
const told = (answer: HttpAnswer): unknown[] => [answer.status, answer.headers['x-sidestep-reason'] ?? '']
const bearer = (token: string): string[] => [`authorization: Bearer ${token}`]

/** Puts objects in force: `holds` is asked until it is true. */
async function inForce(
  mesh: WaypointMesh,
  objects: readonly string[],
  holds: () => Promise<boolean>,
): Promise<void> {
  await mesh.configure(objects, () => true)
  await poll('the policies in force', async () => (await holds()) || null)
}

const RAW_VIP = '10.96.0.40'
const ISSUER = 'https://issuer.example'
const NEEDS_TOKEN = policy('needs-token', 'DENY', '[{from: [{source: {notRequestPrincipals: ["*"]}}]}]')

interface World {
  readonly mesh: WaypointMesh
  readonly keys: KeyServer
  readonly keysUrl: string
  readonly first: SigningKey
  readonly second: SigningKey
}

const CHECKS: Readonly<Record<string, (t: Test, world: World) => Promise<void>>> = {
  'denies by path, however it is written, and says which rule': async (t, { mesh }) => {
    const deny = policy('no-admin', 'DENY', '[{to: [{operation: {paths: ["/admin*"]}}]}]')
    await inForce(mesh, [deny], async () => (await mesh.get('front', '/admin')).status === 403)
    for (const path of ['/admin', '/admin/x', '/a/../admin', '/%61dmin'])
      t.same(told(await mesh.get('front', path)), [403, 'POLICY_DENY'], path)
    t.equal((await mesh.get('front', '/public')).status, 200)
    const record = await poll('its record', async () => {
      return (await mesh.records()).findLast(({ path }) => path === '/admin/x') ?? null
    })
    t.match(record, { reason: 'POLICY_DENY', policy: 'shop/no-admin[0]', 'src.identity': identity('front') })
  },

  'who dials the pod is asked too': async (t, { mesh }) => {
    const round = await mesh.callAt('front', CART_IP, 8081, 'GET /admin HTTP/1.1\r\nhost: web\r\n\r\n')
    t.same(told(round), [403, 'POLICY_DENY'])
    const open = await mesh.callAt('front', CART_IP, 8081, 'GET /open HTTP/1.1\r\nhost: web\r\n\r\n')
    t.equal(open.status, 200)
  },

  'a connection that lives on obeys the policy of now': async (t, { mesh }) => {
    const socket = mesh.lab.connect('front', '10.96.0.30', 80)
    const ask = 'GET /kept HTTP/1.1\r\nhost: web\r\n\r\n'
    socket.write(ask)
    await socket.until('the first answer', ({ text }) => text.includes('"url":"/kept"'))
    const deny = policy('no-kept', 'DENY', '[{to: [{operation: {paths: [/kept]}}]}]')
    await inForce(mesh, [deny], async () => (await mesh.get('front', '/kept')).status === 403)
    socket.write(ask)
    await socket.until('the second answer', ({ text }) => text.includes('POLICY_DENY'))
    t.pass('it is refused')
    socket.destroy()
  },

  'a WebSocket that would not be let in any more is ended, others are not': async (t, { mesh }) => {
    await inForce(mesh, [], async () => (await mesh.get('front', '/kept')).status === 200)
    const upgrade = (path: string): string =>
      `GET ${path} HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`
    const [denied, path, other] = [
      mesh.lab.connect('front', '10.96.0.30', 80),
      mesh.lab.connect('batch', '10.96.0.30', 80),
      mesh.lab.connect('batch', '10.96.0.30', 80),
    ]
    denied.write(upgrade('/ws'))
    path.write(upgrade('/ws/secret'))
    other.write(upgrade('/ws'))
    for (const socket of [denied, path, other]) {
      await socket.until('the change', ({ text }) => text.includes('\r\n\r\n'))
      t.match(socket.text, /^HTTP\/1\.1 101 /)
    }
    const front = '[{from: [{source: {principals: [cluster.local/ns/shop/sa/front]}}]}]'
    const secret = '[{to: [{operation: {paths: [/ws/secret]}}]}]'
    await mesh.configure([policy('no-front', 'DENY', front), policy('no-secret', 'DENY', secret)], () => true)
    for (const socket of [denied, path])
      await socket.until('its end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    const ended = await poll('both records', async () => {
      const found = (await mesh.records()).filter(({ reason }) => reason === 'POLICY_CHANGED')
      return found.length === 2 ? found : null
    })
    t.match(
      ended.toSorted((a, b) => String(a.path).localeCompare(String(b.path))),
      [
        { path: '/ws', status: 101, response_flags: 'RBAC', policy: 'shop/no-front[0]', detail: /no-front/ },
        { path: '/ws/secret', status: 101, policy: 'shop/no-secret[0]', 'src.identity': identity('batch') },
      ],
    )
    other.write('ping of bytes')
    await other.until('its echo', ({ text }) => text.endsWith('ping of bytes'))
    other.destroy()
    await inForce(mesh, [], async () => (await mesh.get('front', '/kept')).status === 200)
  },

  'allows by principal and nobody else; a dry run only says so': async (t, { mesh }) => {
    const of = (name: string): string =>
      `[{from: [{source: {principals: [cluster.local/ns/shop/sa/${name}]}}]}]`
    await inForce(mesh, [policy('only', 'ALLOW', of('nobody'))], async () => {
      return (await mesh.get('front', '/')).status === 403
    })
    t.same(told(await mesh.get('front', '/')), [403, 'POLICY_NO_ALLOW'])
    const tried = policy('tried', 'DENY', '[{}]', '{istio.io/dry-run: "true"}')
    const objects = [policy('only', 'ALLOW', of('front')), tried]
    await inForce(mesh, objects, async () => (await mesh.get('front', '/')).status === 200)
    const record = await poll('a record with the dry run', async () => {
      await mesh.get('front', '/tried')
      return (await mesh.records()).findLast((each) => each.policy_notes !== undefined) ?? null
    })
    t.match(record, { reason: 'OK', policy: 'shop/only[0]', policy_notes: 'dry-run deny shop/tried[0]' })
  },

  'of a connection of bytes what is left of a DENY counts, and an ALLOW about requests does not': async (
    t,
    { mesh },
  ) => {
    const raw =
      '{apiVersion: v1, kind: Service, metadata: {name: raw, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}, ' +
      `spec: {selector: {app: cart}, clusterIP: ${RAW_VIP}, clusterIPs: [${RAW_VIP}], ` +
      'ports: [{name: tcp-raw, port: 90, targetPort: 8081}]}}'
    const forRaw = (action: string, rules: string): string =>
      policy('raw', action, rules).replace('name: web}]', 'name: raw}]')
    const status = async (): Promise<number> =>
      (await mesh.callAt('front', RAW_VIP, 90, 'GET /x HTTP/1.1\r\nhost: web\r\n\r\n')).status
    const path = 'to: [{operation: {paths: [/other]}}]'
    const front = 'from: [{source: {principals: [cluster.local/ns/shop/sa/front]}}]'
    await inForce(mesh, [raw], async () => (await status()) === 200)
    for (const [action, rules, isOpen] of [
      ['DENY', `[{${front}, ${path}}]`, false],
      ['ALLOW', `[{${front}}]`, true],
      ['ALLOW', `[{${front}, ${path}}]`, false],
    ] as const) {
      await inForce(mesh, [raw, forRaw(action, rules)], async () => ((await status()) === 200) === isOpen)
      t.equal((await status()) === 200, isOpen, `${action} ${rules}`)
    }
  },

  'believes tokens by keys in the rule': async (t, { mesh, first, second }) => {
    const keys = JSON.stringify(JSON.stringify({ keys: [first.jwk] }))
    const rule =
      `{issuer: "${ISSUER}", audiences: [shop], jwks: ${keys}, outputPayloadToHeader: x-payload, ` +
      'outputClaimToHeaders: [{header: x-role, claim: role}]}'
    const admins = policy(
      'admins',
      'DENY',
      '[{to: [{operation: {paths: [/admin]}}], when: [{key: "request.auth.claims[role]", notValues: [admin]}]}]',
    )
    await inForce(mesh, [authentication(rule), NEEDS_TOKEN, admins], async () => {
      return (await mesh.get('front', '/')).status === 403
    })
    const token = await first.sign({ iss: ISSUER, sub: 'ann', aud: 'shop', role: 'admin' })
    const answer = await mesh.get('front', '/', [...bearer(token), 'x-role: forged'])
    t.equal(answer.status, 200, answer.body)
    const { headers } = JSON.parse(answer.body) as { readonly headers: Readonly<Record<string, string>> } // as: the service says so
    t.same(
      [headers['x-role'], headers['x-payload'], headers.authorization],
      ['admin', token.split('.')[1], undefined],
    )
    t.equal((await mesh.get('front', '/admin', bearer(token))).status, 200)
    const user = await first.sign({ iss: ISSUER, sub: 'bob', aud: ['shop'], role: 'user' })
    t.same(told(await mesh.get('front', '/admin', bearer(user))), [403, 'POLICY_DENY'])
    const refused: Readonly<Record<string, string>> = {
      'another key': await second.sign({ iss: ISSUER, sub: 'ann', aud: 'shop' }),
      'another audience': await first.sign({ iss: ISSUER, sub: 'ann', aud: 'other' }),
      'another issuer': await first.sign({ iss: 'https://other', sub: 'ann', aud: 'shop' }),
      'its end is past': await first.sign({ iss: ISSUER, sub: 'ann', aud: 'shop' }, -120),
      'a changed signature': `${token.slice(0, -6)}AAAAAA`,
      'no token at all': 'hello',
    }
    for (const [name, text] of Object.entries(refused))
      t.same(told(await mesh.get('front', '/', bearer(text))), [401, 'JWT_INVALID'], name)
    t.same(
      told(await mesh.get('front', '/')),
      [403, 'POLICY_DENY'],
      'without a token it is the policy that refuses',
    )
  },

  'fetches keys once for many, and again for a key that it does not know': async (t, world) => {
    const { mesh, keys, keysUrl, first, second } = world
    keys.keys = [first.jwk]
    const rule = `{issuer: "${ISSUER}", jwksUri: "${keysUrl}", timeout: 1s}`
    const marker = policy('marker', 'DENY', '[{to: [{operation: {paths: [/by-url]}}]}]')
    await inForce(mesh, [authentication(rule), NEEDS_TOKEN, marker], async () => {
      const token = await first.sign({ iss: ISSUER, sub: 'ann' })
      return (await mesh.get('front', '/by-url', bearer(token))).status === 403
    })
    const before = keys.requests
    const tokens = await Promise.all(['a', 'b', 'c', 'd'].map((sub) => first.sign({ iss: ISSUER, sub })))
    const answers = await Promise.all(tokens.map((token) => mesh.get('front', '/', bearer(token))))
    t.same(
      answers.map(({ status }) => status),
      [200, 200, 200, 200],
    )
    t.equal(keys.requests, before, 'the set is known')

    keys.keys = [second.jwk]
    const rotated = await second.sign({ iss: ISSUER, sub: 'ann' })
    await poll(
      'the new key',
      async () => (await mesh.get('front', '/', bearer(rotated))).status === 200 || null,
    )
    t.equal(keys.requests, before + 1, 'it was asked for once')
  },

  'a server of keys that hangs harms nobody else': async (t, { mesh, keys, keysUrl, first, second }) => {
    keys.mode = 'hang'
    const known = await second.sign({ iss: ISSUER, sub: 'known' })
    t.equal((await mesh.get('front', '/', bearer(known))).status, 200, 'the set at hand goes on being used')
    const other = 'https://hanging.example'
    const rules = `{issuer: "${ISSUER}", jwksUri: "${keysUrl}"}, {issuer: "${other}", jwksUri: "${keysUrl}?hangs", timeout: 1s}`
    const token = await first.sign({ iss: other, sub: 'ann' })
    await inForce(mesh, [authentication(rules), NEEDS_TOKEN], async () => {
      return told(await mesh.get('front', '/', bearer(token)))[1] === 'JWT_UNVERIFIABLE'
    })
    const waiting = mesh.get('front', '/', bearer(await first.sign({ iss: other, sub: 'bob' })))
    t.equal((await mesh.get('front', '/', bearer(known))).status, 200, 'while another waits')
    t.same(told(await waiting), [401, 'JWT_UNVERIFIABLE'])
    keys.mode = 'answer'
    keys.keys = [first.jwk]
    await poll('keys again', async () => {
      const fresh = await first.sign({ iss: other, sub: `${Math.random()}` })
      return (await mesh.get('front', '/', bearer(fresh))).status === 200 || null
    })
  },
}

t.setTimeout(240_000)
t.test('a waypoint under policies', { timeout: 210_000 }, async (t) => {
  const mesh = await WaypointMesh.start(t)
  const keys = new KeyServer()
  t.teardown(() => keys.close())
  const keysUrl = mesh.lab.namespaceOf('stranger').run(() => keys.listen())
  const [first, second] = await Promise.all([SigningKey.create('k1'), SigningKey.create('k2')])
  for (const [name, check] of Object.entries(CHECKS))
    await t.test(name, (t) => check(t, { mesh, keys, keysUrl, first, second }))
})
