// SPDX-License-Identifier: Apache-2.0
// Upstream CAs over real connections: Vault as its documentation says it answers, and our own server of Istio's CA
// service in the role of somebody else's.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import t, { type Test } from 'tap'
import { istioUpstream, vaultUpstream } from '../../../controller/ca/external.ts'
import { RootAuthority } from '../../../controller/ca/root-authority.ts'
import { MAX_VAULT_ANSWER_BYTES } from '../../../controller/ca/vault-http.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { openGrpcClient } from '../../../mesh/grpc/client.ts'
import { GrpcServer } from '../../../mesh/grpc/server.ts'
import { assembleCertificate } from '../../../mesh/identity/certificate.ts'
import { CREATE_CERTIFICATE } from '../../../mesh/identity/istio-ca.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import {
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from '../../../proto/generated/istio/certificate_pb.js'
import { CART, FRONT, memoryKeyStore, planFor, requestFor, TRUST_DOMAIN } from '../../support/ca.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { serverCertificate } from '../../support/server-certificate.ts'
import { TestVault, type VaultBehaviour } from '../../support/vault.ts'

const clock = systemClock

async function startVault(t: Test) {
  const vault = await TestVault.start(clock.nowMs)
  t.teardown(() => vault.close())
  const tokenFile = join(t.testdir(), 'token')
  writeFileSync(tokenFile, `${vault.token}\n`)
  const options = { address: vault.address, mount: 'pki_int', role: 'mesh', tokenFile, clock }
  return { vault, tokenFile, options, authority: vaultUpstream(options) }
}

t.test("Vault signs what we decided, and its answer becomes a node's chain", async (t) => {
  const { vault, options } = await startVault(t)
  const authority = vaultUpstream({ ...options, namespace: 'team/mesh' })
  await t.rejects(authority.rootsPem(), { code: 'CERT_UNAVAILABLE' })
  const plan = await planFor(CART, clock.nowMs, 3_600_000)
  const chain = await authority.sign(plan)
  t.match(assembleCertificate(plan, chain, clock.nowMs), { kind: 'workload-certificate', identity: CART })
  t.equal(chain.length, 3)
  t.equal(chain[1], vault.intermediatePem)
  t.equal(chain[2], vault.rootPem)
  t.equal(await authority.rootsPem(), vault.rootPem)
  const [request] = vault.requests
  t.equal(request?.method, 'POST')
  t.equal(request?.path, '/v1/pki_int/sign/mesh')
  t.equal(request?.headers['x-vault-namespace'], 'team/mesh')
  t.match(request?.body, { csr: plan.csrPem, uri_sans: CART, ttl: '3600s', format: 'pem' })
})

t.test('the token is read anew, and one that is missing or no token is told', async (t) => {
  const { vault, tokenFile, authority } = await startVault(t)
  writeFileSync(tokenFile, 'hvs.outdated')
  const plan = await planFor(CART, clock.nowMs)
  await t.rejects(authority.sign(plan), {
    code: 'CERT_INVALID',
    detail: 'Vault answered 403: permission denied',
  })
  writeFileSync(tokenFile, vault.token)
  t.equal((await authority.sign(plan)).length, 3)
  for (const bad of ['', 'a\nb', 'x'.repeat(9_000)]) {
    writeFileSync(tokenFile, bad)
    await t.rejects(authority.sign(plan), { code: 'CERT_UNAVAILABLE' }, JSON.stringify(bad.slice(0, 5)))
  }
  rmSync(tokenFile)
  await t.rejects(authority.sign(plan), { code: 'CERT_UNAVAILABLE' })
})

t.test("Vault's refusals are final, its states are not", async (t) => {
  const { vault, authority } = await startVault(t)
  const plan = await planFor(CART, clock.nowMs)
  const outcome = async (behaviour: VaultBehaviour): Promise<string> => {
    vault.behaviour = behaviour
    try {
      await authority.sign(plan)
      return 'signed'
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      return `${error.code} ${error.retryable} ${error.detail}`
    }
  }
  const errors = ['subject alternate name spiffe://x not allowed by this role']
  t.equal(await outcome({ status: 400, errors }), `CERT_INVALID false Vault answered 400: ${errors}`)
  t.match(await outcome({ status: 404 }), /^CERT_INVALID false/)
  for (const status of [429, 472, 473, 500, 502, 503])
    t.match(
      await outcome({ status, errors: ['Vault is sealed'] }),
      /^CERT_UNAVAILABLE true .*Vault is sealed/,
    )
  const thief = await TestVault.start(clock.nowMs)
  t.teardown(() => thief.close())
  t.match(await outcome({ status: 307, location: `${thief.address}/v1/x` }), /^CERT_UNAVAILABLE true/)
  t.equal(thief.requests.length, 0, 'the token is not handed on')
  t.match(await outcome({ rawBody: 'no JSON' }), /^CERT_UNAVAILABLE|^CERT_INVALID/)
  t.match(
    await outcome({ rawBody: ' '.repeat(MAX_VAULT_ANSWER_BYTES + 1) }),
    /^CERT_UNAVAILABLE true .*too long/,
  )
  vault.close()
  t.match(await outcome({}), /^CERT_UNAVAILABLE true .*does not answer/)
})

t.test('what Vault sends is believed only if it is what was asked for', async (t) => {
  const { vault, authority, options } = await startVault(t)
  const stranger = await TestVault.start(clock.nowMs)
  t.teardown(() => stranger.close())
  const plan = await planFor(CART, clock.nowMs)
  const other = await requestFor(CART)
  const lies: Record<string, VaultBehaviour> = {
    'another identity': { uris: [FRONT] },
    'a second identity': { uris: [CART, FRONT] },
    'no identity': { uris: [] },
    'another key': { publicKeyInfo: other.publicKeyInfo },
    'a CA': { isCa: true },
    'the chain of another': {
      data: { ca_chain: [stranger.intermediatePem, stranger.rootPem], issuing_ca: '' },
    },
    'no certificate': { data: { certificate: null } },
    'no root': { data: { ca_chain: [vault.intermediatePem] } },
    nothing: { data: { certificate: '', ca_chain: 7, issuing_ca: {} } },
    'no data': { rawBody: '[]' },
  }
  for (const [what, lie] of Object.entries(lies)) {
    vault.behaviour = lie
    await t.rejects(authority.sign(plan), { code: /^(CERT_INVALID|IDENTITY_MISMATCH)$/ }, what)
  }
  vault.behaviour = { data: { ca_chain: [vault.intermediatePem] } }
  const knowing = vaultUpstream({ ...options, rootsPem: vault.rootPem })
  t.equal((await knowing.sign(plan)).length, 3, 'a root that Vault does not know may be given')
})

t.test("any server of Istio's CA service can sign for us", async (t) => {
  const identity = await serverCertificate()
  const root = await RootAuthority.open({ store: memoryKeyStore(), trustDomain: TRUST_DOMAIN, clock })
  const tokenFile = join(t.testdir(), 'token')
  writeFileSync(tokenFile, 'first\n')
  const seen: unknown[] = []
  let lie: (() => Promise<readonly string[]>) | null = null
  const server = await GrpcServer.start({
    host: '127.0.0.1',
    port: 0,
    identity,
    methods: [
      {
        kind: 'unary',
        path: CREATE_CERTIFICATE,
        handle: async ({ request, metadata }) => {
          const {
            csr,
            validityDuration,
            metadata: struct,
          } = fromBinary(IstioCertificateRequestSchema, request)
          seen.push([
            metadata.get('authorization'),
            metadata.get('clusterid'),
            struct,
            Number(validityDuration),
          ])
          const plan = await planFor(CART, clock.nowMs)
          const certChain =
            lie === null
              ? await root.sign({ ...plan, publicKeyInfo: wanted.publicKeyInfo, csrPem: csr })
              : await lie()
          return Buffer.from(
            toBinary(
              IstioCertificateResponseSchema,
              create(IstioCertificateResponseSchema, { certChain: [...certChain] }),
            ),
          )
        },
      },
    ],
  })
  t.teardown(() => server.stop(0))
  const client = openGrpcClient({ address: `localhost:${server.port}`, rootsPem: identity.rootPem })
  t.teardown(() => client.close())
  const authority = istioUpstream({ client, tokenFile, clusterId: 'one', clock })
  const wanted = await planFor(CART, clock.nowMs, 7_200_000)
  const chain = await authority.sign(wanted)
  t.match(assembleCertificate(wanted, chain, clock.nowMs), { kind: 'workload-certificate' })
  t.equal(await authority.rootsPem(), await root.rootsPem())
  writeFileSync(tokenFile, 'second\n')
  await authority.sign(wanted)
  t.same(seen, [
    ['Bearer first', 'one', { ImpersonatedIdentity: CART }, 7200],
    ['Bearer second', 'one', { ImpersonatedIdentity: CART }, 7200],
  ])
  const fail = (code: 'CSR_INVALID' | 'TOKEN_INVALID' | 'LIMIT_NODE') => async (): Promise<never> => {
    throw new MeshError(code)
  }
  lie = fail('TOKEN_INVALID')
  await t.rejects(authority.sign(wanted), { code: 'CERT_INVALID', retryable: false })
  lie = fail('LIMIT_NODE')
  await t.rejects(authority.sign(wanted), { code: 'CERT_UNAVAILABLE', retryable: true })
  lie = async () => []
  await t.rejects(authority.sign(wanted), { code: 'CERT_INVALID' })
  const foreign = await TestAuthority.create()
  lie = async () => [chain[0] ?? '', foreign.rootPem]
  await t.rejects(authority.sign(wanted), {
    code: 'CERT_INVALID',
    detail: 'the chain does not lead to a root',
  })
  await server.stop(0)
  await t.rejects(authority.sign(wanted), { code: 'CERT_UNAVAILABLE', retryable: true })
})
