// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  type Attestor,
  anyAttestor,
  bearerTokenOf,
  MAX_TOKEN_BYTES,
  nodeCertificateAttestor,
  parseRequestedIdentity,
} from '../../../controller/ca/attestation.ts'
import { isRefusal, refuse } from '../../../mesh/errors/refusal.ts'
import { nodeIdentity } from '../../../mesh/identity/node-identity.ts'
import { CART, credentialsOf, FRONT, TRUST_DOMAIN } from '../../support/ca.ts'
import { TestAuthority } from '../../support/certificates.ts'

const NODE = nodeIdentity(TRUST_DOMAIN, 'node1.example')
const nowMs = Date.now()
const authority = await TestAuthority.create(nowMs)
const nodeId = { trustDomain: TRUST_DOMAIN, namespace: 'sidestep.node', serviceAccount: 'node1.example' }
const derOf = (pem: string): Buffer => new X509Certificate(pem).raw

t.test('a bearer token is read from its header only, and bounded', async (t) => {
  const tokenOf = (header: string) => bearerTokenOf(credentialsOf({ authorization: header }, 0).metadata)
  t.equal(bearerTokenOf(credentialsOf({}, 0).metadata), null)
  t.equal(tokenOf('Bearer abc.def'), 'abc.def')
  t.equal(tokenOf('bearer  abc'), 'abc')
  t.equal(tokenOf(`Bearer ${'x'.repeat(MAX_TOKEN_BYTES)}`), 'x'.repeat(MAX_TOKEN_BYTES))
  for (const bad of [
    '',
    'abc',
    'Basic abc',
    'Bearer',
    'Bearer a b',
    `Bearer ${'x'.repeat(MAX_TOKEN_BYTES + 1)}`,
  ])
    t.match(tokenOf(bad), { code: 'TOKEN_INVALID' }, bad.slice(0, 20))
})

t.test('the first attestor that knows the kind of credentials decides', async (t) => {
  const knowing = (answer: 'no' | null): Attestor => ({
    attest: async () => (answer === null ? null : refuse('TOKEN_INVALID', answer)),
  })
  const credentials = credentialsOf({}, 0)
  t.equal(await anyAttestor([knowing(null), knowing(null)]).attest(credentials), null)
  t.match(await anyAttestor([knowing(null), knowing('no')]).attest(credentials), { detail: 'no' })
})

t.test('nobody asks for the identity of a node or of elsewhere', async (t) => {
  t.match(parseRequestedIdentity(CART, TRUST_DOMAIN), { namespace: 'shop' })
  for (const bad of [NODE, 'spiffe://other/ns/shop/sa/cart', '', 'cart', `${CART}/`, ` ${CART}`])
    t.match(parseRequestedIdentity(bad, TRUST_DOMAIN), { code: 'IDENTITY_REFUSED' }, bad)
})

const enrolled = new Map([['node1.example', { allowedIdentities: [CART] }]])
let revoked = ''
const attestor = nodeCertificateAttestor({
  trustDomain: TRUST_DOMAIN,
  enrolments: { enrolmentOf: async (node) => enrolled.get(node) ?? null },
  revocations: { isRevoked: async (serial) => serial === revoked },
})

t.test('a node renews its own certificate and those of its list, no other', async (t) => {
  const { certificatePem } = await authority.sign(nodeId)
  const caller = await attestor.attest(credentialsOf({}, nowMs, derOf(certificatePem)))
  if (caller === null || isRefusal(caller)) throw new Error('not believed')
  t.equal(caller.node, 'node1.example')
  t.equal(caller.claim, undefined, 'a certificate may be used again')
  t.equal(await caller.authorise(null), NODE)
  t.equal(await caller.authorise(NODE), NODE)
  t.equal(await caller.authorise(CART), CART)
  for (const other of [FRONT, nodeIdentity(TRUST_DOMAIN, 'node2'), 'spiffe://other/ns/shop/sa/cart', ''])
    t.match(await caller.authorise(other), { code: 'IDENTITY_REFUSED' }, other)
  await fc.assert(
    fc.asyncProperty(fc.string(), async (any) => isRefusal(await caller.authorise(any))),
    { numRuns: 200 },
  )
})

t.test('certificates of workloads, ended, revoked and unenrolled nodes are refused', async (t) => {
  const codeOf = async (certificatePem: string, atMs = nowMs): Promise<string> => {
    const caller = await attestor.attest(credentialsOf({}, atMs, derOf(certificatePem)))
    return isRefusal(caller) ? caller.code : 'believed'
  }
  const { certificatePem } = await authority.sign(nodeId)
  t.equal(await codeOf(certificatePem), 'believed')
  const workload = { ...nodeId, namespace: 'shop', serviceAccount: 'cart' }
  t.equal(await codeOf((await authority.sign(workload)).certificatePem), 'TOKEN_INVALID')
  const foreign = { ...nodeId, trustDomain: 'other' }
  t.equal(await codeOf((await authority.sign(foreign)).certificatePem), 'TOKEN_INVALID')
  const two = await authority.sign(nodeId, { uris: [NODE, CART] })
  t.equal(await codeOf(two.certificatePem), 'TOKEN_INVALID', 'two names')
  t.equal(
    await codeOf((await authority.sign(nodeId, { uris: [] })).certificatePem),
    'TOKEN_INVALID',
    'no name',
  )
  t.equal(
    await codeOf((await authority.sign({ ...nodeId, serviceAccount: 'node2' })).certificatePem),
    'TOKEN_INVALID',
    'not enrolled',
  )
  t.equal(await codeOf(certificatePem, nowMs + 25 * 3_600_000), 'CERT_EXPIRED', 'on an old connection')
  revoked = BigInt(`0x${new X509Certificate(certificatePem).serialNumber}`).toString()
  t.equal(await codeOf(certificatePem), 'CERT_REVOKED')
})

t.test('a token on the connection of a certificate is a caller of its own', async (t) => {
  const { certificatePem } = await authority.sign(nodeId)
  const credentials = credentialsOf({ authorization: 'Bearer x' }, nowMs, derOf(certificatePem))
  t.equal(await attestor.attest(credentials), null)
  t.equal(await attestor.attest(credentialsOf({}, nowMs)), null)
})
