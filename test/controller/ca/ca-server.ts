// SPDX-License-Identifier: Apache-2.0
// The CA as its clients meet it: over TLS and gRPC, with a key store on disk and an audit record of everything.
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import t, { type Test } from 'tap'
import { anyAttestor, nodeCertificateAttestor } from '../../../controller/ca/attestation.ts'
import { AuditLog, openAuditFile } from '../../../controller/ca/audit.ts'
import { type CaServiceOptions, caMethod } from '../../../controller/ca/ca-server.ts'
import { RevocationRegister } from '../../../controller/ca/crl.ts'
import { openJoinTokenDirectory } from '../../../controller/ca/join-token-directory.ts'
import { createJoinToken, enrolmentsOf, joinTokenAttestor } from '../../../controller/ca/join-tokens.ts'
import { openDirectoryKeyStore } from '../../../controller/ca/key-store.ts'
import { RateLimit } from '../../../controller/ca/rate-limit.ts'
import { RootAuthority } from '../../../controller/ca/root-authority.ts'
import type { SigningAuthority, SigningPlan } from '../../../controller/ca/signing.ts'
import { tokenReviewAttestor } from '../../../controller/ca/token-review.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { type GrpcAnswer, openGrpcClient } from '../../../mesh/grpc/client.ts'
import { GrpcServer } from '../../../mesh/grpc/server.ts'
import { assembleCertificate } from '../../../mesh/identity/certificate.ts'
import { CREATE_CERTIFICATE } from '../../../mesh/identity/istio-ca.ts'
import { nodeIdentity } from '../../../mesh/identity/node-identity.ts'
import {
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from '../../../proto/generated/istio/certificate_pb.js'
import { CART, FRONT, requestFor, TestKubernetes, type TestRequest, TRUST_DOMAIN } from '../../support/ca.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { serverCertificate } from '../../support/server-certificate.ts'

const CALL_MS = 10_000
const identity = await serverCertificate()
const NODE = nodeIdentity(TRUST_DOMAIN, 'vm1')
type Identity = { readonly certificatePem: string; readonly privateKeyPem: string }
type JsonRecord = Record<string, string | number>

/** A CA with everything it has in production, and two pods on node1. */
async function setUp(t: Test, differing: Partial<CaServiceOptions> = {}) {
  const directory = t.testdir()
  const clock = new ManualClock(Date.now())
  const store = openDirectoryKeyStore(join(directory, 'keys'))
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock })
  const kubernetes = new TestKubernetes()
  const ztunnel = kubernetes.addPod('istio-system', 'z1', {
    uid: 'u1',
    node: 'node1',
    serviceAccount: 'ztunnel',
  })
  kubernetes.addPod('shop', 'cart-1', { uid: 'u2', node: 'node1', serviceAccount: 'cart' })
  kubernetes.addPod('shop', 'front-1', { uid: 'u3', node: 'node2', serviceAccount: 'front' })
  const tokens = openJoinTokenDirectory(join(directory, 'tokens'))
  const revocations = new RevocationRegister({ store, clock, signers: () => authority.signers() })
  const auditPath = join(directory, 'audit.jsonl')
  const audit = new AuditLog(await openAuditFile(auditPath))
  t.teardown(() => audit.close())
  const signed: SigningPlan[] = []
  const watched: SigningAuthority = {
    name: 'root',
    rootsPem: () => authority.rootsPem(),
    sign: (plan) => {
      signed.push(plan)
      return authority.sign(plan)
    },
  }
  const attestor = anyAttestor([
    tokenReviewAttestor({
      kubernetes,
      trustDomain: TRUST_DOMAIN,
      clock,
      nodeAccounts: ['istio-system/ztunnel'],
    }),
    joinTokenAttestor(tokens, TRUST_DOMAIN),
    nodeCertificateAttestor({ trustDomain: TRUST_DOMAIN, enrolments: enrolmentsOf(tokens), revocations }),
  ])
  const defects: unknown[] = []
  const server = await GrpcServer.start({
    host: '127.0.0.1',
    port: 0,
    identity: { ...identity, clientRootsPem: await authority.rootsPem() },
    methods: [
      caMethod({ trustDomain: TRUST_DOMAIN, attestor, authority: watched, audit, clock, ...differing }),
    ],
    onDefect: (_path, cause) => defects.push(cause),
  })
  t.teardown(() => server.stop(0))
  const call = async (bytes: Uint8Array, token?: string, as?: Identity): Promise<GrpcAnswer> => {
    const client = openGrpcClient({
      address: `localhost:${server.port}`,
      rootsPem: identity.rootPem,
      ...(as === undefined ? {} : { identity: as }),
    })
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const answer = await client.call(CREATE_CERTIFICATE, bytes, headers, CALL_MS)
    client.close()
    return answer
  }
  const records = (): JsonRecord[] =>
    readFileSync(auditPath, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  return { clock, authority, kubernetes, ztunnel, tokens, revocations, signed, defects, call, records, audit }
}

/** A request on the wire. */
function wire(request: TestRequest, impersonated?: string, ttlSeconds = 3600): Uint8Array {
  const message = create(IstioCertificateRequestSchema, {
    csr: request.csrPem,
    validityDuration: BigInt(ttlSeconds),
    ...(impersonated === undefined ? {} : { metadata: { ImpersonatedIdentity: impersonated } }),
  })
  return toBinary(IstioCertificateRequestSchema, message)
}

const chainOf = (answer: GrpcAnswer): string[] => {
  if (answer.kind === 'status') throw new Error(`${answer.code} ${answer.details}`)
  return fromBinary(IstioCertificateResponseSchema, answer.bytes).certChain
}

t.test('a ztunnel gets the certificate of a pod of its node, and it is written down', async (t) => {
  const { call, ztunnel, clock, records, defects } = await setUp(t)
  const request = await requestFor(CART)
  const chain = chainOf(await call(wire(request, CART), ztunnel))
  const owner = { identity: CART, ...request }
  const certificate = assembleCertificate(owner, chain, clock.nowMs)
  if (isRefusal(certificate)) throw new Error(certificate.detail)
  const [leaf, root] = chain.map((pem) => new X509Certificate(pem))
  t.ok(leaf && root && leaf.verify(root.publicKey) && leaf.checkIssued(root))
  t.equal(leaf?.subjectAltName, `URI:${CART}`)
  const [record, ...more] = records()
  t.same(more, [])
  t.match(record, {
    event: 'signed',
    account: 'istio-system/ztunnel',
    node: 'node1',
    identity: CART,
    serialNumber: certificate.serialNumber,
    notAfter: new Date(certificate.notAfterMs).toISOString(),
    reason: 'OK',
  })
  t.same(defects, [])
})

t.test('nothing is signed that should not be, and each refusal is written down', async (t) => {
  const { call, ztunnel, signed, records, kubernetes } = await setUp(t)
  const cart = await requestFor(CART)
  const front = await requestFor(FRONT)
  const own = kubernetes.addPod('shop', 'cart-2', { uid: 'u9', node: 'node1', serviceAccount: 'cart' })
  const expired = kubernetes.addPod(
    'x',
    'old',
    { uid: 'u8', node: 'node1', serviceAccount: 'y' },
    { authenticated: false },
  )
  const foreign = kubernetes.addPod(
    'x',
    'api',
    { uid: 'u7', node: 'node1', serviceAccount: 'y' },
    { audiences: ['api'] },
  )
  const signer = toBinary(
    IstioCertificateRequestSchema,
    create(IstioCertificateRequestSchema, { csr: cart.csrPem, metadata: { CertSigner: 'other' } }),
  )
  const number = toBinary(
    IstioCertificateRequestSchema,
    create(IstioCertificateRequestSchema, { csr: cart.csrPem, metadata: { ImpersonatedIdentity: 7 } }),
  )
  const cases: [string, Uint8Array, string | undefined, number, string][] = [
    ['no credentials', wire(cart, CART), undefined, 16, 'IDENTITY_MISSING'],
    ['a forged token', wire(cart, CART), 'forged', 16, 'TOKEN_INVALID'],
    ['an expired token', wire(cart, CART), expired, 16, 'TOKEN_INVALID'],
    ['a token for another audience', wire(cart, CART), foreign, 16, 'TOKEN_INVALID'],
    [
      'a forged join token',
      wire(cart),
      `sidestep-join.${'0'.repeat(24)}.${'A'.repeat(43)}`,
      16,
      'TOKEN_INVALID',
    ],
    ['a pod of another node', wire(front, FRONT), ztunnel, 16, 'IDENTITY_REFUSED'],
    ['another trust domain', wire(cart, 'spiffe://other/ns/shop/sa/cart'), ztunnel, 16, 'IDENTITY_REFUSED'],
    ['a node', wire(cart, NODE), ztunnel, 16, 'IDENTITY_REFUSED'],
    ['a pod that is no node account', wire(front, FRONT), own, 16, 'IDENTITY_REFUSED'],
    ['a request for another than the granted', wire(front, CART), ztunnel, 16, 'IDENTITY_REFUSED'],
    ['a request for another than its own', wire(cart), ztunnel, 16, 'IDENTITY_REFUSED'],
    ['a lifetime too long', wire(cart, CART, 90 * 86_400 + 1), ztunnel, 3, 'CERT_LIFETIME'],
    ['no request at all', new Uint8Array(), own, 3, 'CSR_INVALID'],
    ['garbage', Buffer.from('ff'.repeat(40), 'hex'), own, 3, 'CSR_INVALID'],
    ['another signer', signer, own, 3, 'CSR_INVALID'],
    ['a number for an identity', number, own, 3, 'CSR_INVALID'],
    [
      'a megabyte of request',
      wire({ ...cart, csrPem: cart.csrPem.padEnd(1e6, '\n') }),
      own,
      3,
      'CSR_INVALID',
    ],
  ]
  for (const [what, bytes, token, code, reason] of cases) {
    const answer = await call(bytes, token)
    t.match(answer, { kind: 'status', code }, what)
    const told = answer.kind === 'status' ? answer.details : ''
    if (code === 16) t.equal(told, reason, 'who is not believed learns nothing more')
    else t.match(told, reason)
    t.match(records().at(-1), { event: 'refused', reason }, what)
  }
  t.equal(records().length, cases.length)
  t.same(signed, [])
})

t.test('a request of 2 MiB is refused and disturbs nobody', async (t) => {
  const { call, ztunnel, signed } = await setUp(t)
  const request = await requestFor(CART)
  const huge = wire({ ...request, csrPem: 'x'.repeat(2 * 1024 * 1024) }, CART)
  const [refused, served] = await Promise.all([call(huge, ztunnel), call(wire(request, CART), ztunnel)])
  t.match(refused, { kind: 'status', code: 8 })
  t.equal(served.kind, 'bytes')
  t.equal(signed.length, 1)
})

t.test('a machine joins once, renews with its certificate, and is out when revoked', async (t) => {
  const { call, tokens, clock, records, revocations } = await setUp(t)
  const made = await createJoinToken(
    tokens,
    { node: 'vm1', allowedIdentities: [CART], lifetimeMs: 60_000 },
    TRUST_DOMAIN,
    clock.nowMs,
  )
  if (isRefusal(made)) throw new Error(made.detail)
  const key = await requestFor(NODE)
  t.match(
    await call(wire(await requestFor(CART)), made.token),
    { code: 16 },
    'a wrong request spends nothing',
  )
  t.match(await call(wire(key, undefined, 1e9), made.token), { code: 3 }, 'nor does a lifetime too long')
  const [nodePem = ''] = chainOf(await call(wire(key), made.token))
  const node = { certificatePem: nodePem, privateKeyPem: key.privateKeyPem }
  chainOf(await call(wire(key), made.token)) // its answer was lost: the same key is the same node
  t.match(records().at(-1), { event: 'signed', identity: NODE })
  t.match(await call(wire(await requestFor(CART)), made.token), { code: 16, details: 'JOIN_TOKEN_REUSED' })
  t.match(await call(wire(await requestFor(NODE)), made.token), { code: 16, details: 'JOIN_TOKEN_REUSED' })
  t.match(records().at(-1), { event: 'refused', reason: 'JOIN_TOKEN_REUSED', detail: /stolen/ })

  const renewal = await requestFor(NODE)
  const [renewedPem = ''] = chainOf(await call(wire(renewal), undefined, node))
  const renewed = { certificatePem: renewedPem, privateKeyPem: renewal.privateKeyPem }
  const cart = await requestFor(CART)
  const [cartPem = ''] = chainOf(await call(wire(cart, CART), undefined, renewed))
  t.match(records().at(-1), { event: 'signed', account: 'node certificate', node: 'vm1', identity: CART })
  t.match(await call(wire(await requestFor(FRONT), FRONT), undefined, renewed), { code: 16 })
  const workload = { certificatePem: cartPem, privateKeyPem: cart.privateKeyPem }
  t.match(
    await call(wire(cart, CART), undefined, workload),
    { code: 16 },
    "a workload's certificate buys nothing",
  )

  const serial = BigInt(`0x${new X509Certificate(renewedPem).serialNumber}`).toString()
  await revocations.revoke(serial, clock.nowMs + 86_400_000)
  t.match(await call(wire(renewal), undefined, renewed), { code: 16, details: 'CERT_REVOKED' })
  t.equal(
    (await call(wire(renewal), undefined, node)).kind,
    'bytes',
    'the other certificate is another matter',
  )
  await tokens.revoke(made.id)
  t.match(await call(wire(renewal), undefined, node), { code: 16, details: 'TOKEN_INVALID' })
})

t.test('a stolen token used twice at once: one certificate, one alarm', async (t) => {
  const { call, tokens, clock, signed, records } = await setUp(t)
  for (let round = 0; round < 5; round++) {
    const made = await createJoinToken(
      tokens,
      { node: `vm${round}`, allowedIdentities: [], lifetimeMs: 60_000 },
      TRUST_DOMAIN,
      clock.nowMs,
    )
    if (isRefusal(made)) throw new Error(made.detail)
    const own = nodeIdentity(TRUST_DOMAIN, `vm${round}`)
    const [one, two] = await Promise.all([requestFor(own), requestFor(own)])
    const answers = await Promise.all([call(wire(one), made.token), call(wire(two), made.token)])
    t.equal(answers.filter(({ kind }) => kind === 'bytes').length, 1)
    t.match(
      answers.find(({ kind }) => kind === 'status'),
      { code: 16, details: 'JOIN_TOKEN_REUSED' },
    )
    t.equal(signed.length, round + 1)
    t.equal(records().filter(({ reason }) => reason === 'JOIN_TOKEN_REUSED').length, round + 1)
  }
})

t.test('a node that asks too often is refused, the others are not', async (t) => {
  const { call, ztunnel, kubernetes, records } = await setUp(t, {
    nodeRate: new RateLimit({ capacity: 2, perSecond: 0.001 }),
  })
  const bytes = wire(await requestFor(CART), CART)
  const other = kubernetes.addPod('shop', 'cart-9', { uid: 'u9', node: 'node9', serviceAccount: 'cart' })
  t.equal((await call(bytes, ztunnel)).kind, 'bytes')
  t.equal((await call(bytes, ztunnel)).kind, 'bytes')
  t.match(await call(bytes, ztunnel), { kind: 'status', code: 8, details: /LIMIT_NODE/ })
  t.match(records().at(-1), { event: 'refused', reason: 'LIMIT_NODE', node: 'node1' })
  t.equal((await call(bytes, other)).kind, 'bytes')
})

t.test('an address that fails too often is not listened to, and fills no disk', async (t) => {
  const { call, ztunnel, kubernetes, records, clock } = await setUp(t, {
    failureRate: new RateLimit({ capacity: 3, perSecond: 1 }),
  })
  const bytes = wire(await requestFor(CART), CART)
  for (let count = 0; count < 10; count++) await call(bytes, `forged${count}`)
  t.equal(kubernetes.reviews, 3)
  t.equal(records().length, 3)
  t.match(await call(bytes, ztunnel), { code: 8 })
  clock.advance(1_000)
  t.equal((await call(bytes, ztunnel)).kind, 'bytes')
})

t.test('what is wrong with the CA is not the fault of the caller', async (t) => {
  for (const [failure, code, details] of [
    [
      new MeshError('CERT_EXPIRED', { detail: 'the root' }),
      14,
      'CERT_UNAVAILABLE: broken: CERT_EXPIRED: the root',
    ],
    [new MeshError('CERT_INVALID', { detail: 'Vault' }), 14, 'CERT_UNAVAILABLE: broken: CERT_INVALID: Vault'],
    [new MeshError('CA_KEY', { detail: 'readable' }), 14, 'CA_KEY: readable'],
    [new Error('a secret'), 13, 'INTERNAL'],
  ] as const) {
    const broken: SigningAuthority = {
      name: 'broken',
      sign: () => Promise.reject(failure),
      rootsPem: () => Promise.reject(failure),
    }
    const { call, ztunnel, records, defects } = await setUp(t, {
      authority: broken,
      failureRate: new RateLimit({ capacity: 1, perSecond: 0 }),
    })
    const bytes = wire(await requestFor(CART), CART)
    for (let count = 0; count < 3; count++)
      t.same(await call(bytes, ztunnel), { kind: 'status', code, details })
    t.match(records().at(-1), { event: 'refused', identity: CART, node: 'node1' })
    t.equal(defects.length, code === 13 ? 3 : 0)
  }
})

t.test('an apiserver that is down is told as such', async (t) => {
  const { call, ztunnel, kubernetes, signed } = await setUp(t)
  kubernetes.isDown = true
  t.match(await call(wire(await requestFor(CART), CART), ztunnel), { code: 14, details: /CERT_UNAVAILABLE/ })
  t.same(signed, [])
})

t.test(
  'a store that is away or refuses us is our trouble: the caller may try again and learns no more',
  async (t) => {
    for (const code of ['REDIS_UNAVAILABLE', 'REDIS_DENIED', 'REDIS_ANSWER', 'APISERVER_DENIED'] as const) {
      const attest = async (): Promise<never> => {
        throw new MeshError(code, { side: 'upstream', detail: 'connect ECONNREFUSED 10.9.8.7:6379' })
      }
      const { call, records, signed } = await setUp(t, { attestor: { attest } })
      const answer = await call(wire(await requestFor(CART)), 'any')
      t.match(answer, { code: 14, details: /CERT_UNAVAILABLE/ })
      t.notMatch(JSON.stringify(answer), '10.9.8.7')
      t.match(records().at(-1), { event: 'refused', reason: code, detail: /10.9.8.7/ })
      t.same(signed, [])
    }
  },
)

t.test('a full disk of the audit log stops no certificate, and is counted', async (t) => {
  const full = await openAuditFile('/dev/full')
  const audit = new AuditLog(full)
  t.teardown(() => audit.close())
  const { call, ztunnel } = await setUp(t, { audit })
  t.equal((await call(wire(await requestFor(CART), CART), ztunnel)).kind, 'bytes')
  t.equal(audit.lostCount, 1)
})

t.test('a clock that jumps signs nothing outside of the life of the root', async (t) => {
  const { call, ztunnel, clock, records } = await setUp(t)
  const bytes = wire(await requestFor(CART), CART)
  clock.advance(-3_600_000)
  t.match(await call(bytes, ztunnel), { code: 14, details: /CERT_NOT_YET_VALID/ })
  clock.advance(4_000 * 86_400_000)
  t.match(await call(bytes, ztunnel), { code: 14, details: /CERT_EXPIRED/ })
  t.ok(records().every(({ event }) => event === 'refused'))
  clock.advance(-3_999 * 86_400_000)
  t.equal((await call(bytes, ztunnel)).kind, 'bytes')
})
