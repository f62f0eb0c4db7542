// SPDX-License-Identifier: Apache-2.0
// Each CA the options can name, opened as the controller does it, over real connections.
import { chmodSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { Attestor, Caller } from '../../../controller/ca/attestation.ts'
import { AuditLog } from '../../../controller/ca/audit.ts'
import { caMethod } from '../../../controller/ca/ca-server.ts'
import { openDirectoryKeyStore } from '../../../controller/ca/key-store.ts'
import { type OpenedAuthority, openAuthority } from '../../../controller/ca/open-authority.ts'
import { RootAuthority } from '../../../controller/ca/root-authority.ts'
import { readConfig } from '../../../controller/config.ts'
import { ServerCertificate } from '../../../controller/server-certificate.ts'
import { refuse } from '../../../mesh/errors/refusal.ts'
import { GrpcServer } from '../../../mesh/grpc/server.ts'
import { assembleCertificate } from '../../../mesh/identity/certificate.ts'
import {
  createRootCertificate,
  exportPrivateKey,
  generateKeyPair,
  isSignedBy,
  publicKeyInfoOf,
  signCertificate,
  splitCertificates,
} from '../../../mesh/identity/pki.ts'
import { systemClock as clock } from '../../../mesh/runtime/clock.ts'
import { CART, memoryKeyStore, planFor, TRUST_DOMAIN } from '../../support/ca.ts'
import { serverCertificate } from '../../support/server-certificate.ts'
import { TestVault } from '../../support/vault.ts'

const DAY_MS = 86_400_000
const log = pino({ level: 'silent' })

async function open(t: Test, ...args: readonly string[]): Promise<OpenedAuthority> {
  const { options: config, mistakes } = readConfig(['--config-directory', 'd', ...args], {})
  if (mistakes.length > 0) throw new Error(mistakes.join())
  const store = openDirectoryKeyStore(join(t.testdirName, 'ca'))
  const opened = await openAuthority({ config, store, clock, log })
  t.teardown(() => opened.close())
  return opened
}

/** Signs a leaf and checks the way to the roots that nodes' certificates are verified with. */
async function signs(t: Test, { signing, server }: OpenedAuthority): Promise<void> {
  const plan = await planFor(CART, clock.nowMs)
  const chain = await signing.sign(plan)
  t.match(assembleCertificate(plan, chain, clock.nowMs), { kind: 'workload-certificate', identity: CART })
  const [top = ''] = chain.slice(-2)
  const roots = splitCertificates(await server.rootsPem())
  const isRooted = await Promise.all(roots.map((root) => isSignedBy(top, root)))
  t.ok(isRooted.includes(true), 'nodes show certificates the controller can verify')
}

/** The controller's certificate must lead to the roots that are handed out for it. */
async function serves(t: Test, opened: OpenedAuthority): Promise<void> {
  const certificate = await ServerCertificate.create({ signer: opened.server, names: ['a'], clock, log })
  const chain = splitCertificates(certificate.identity.certificatePem)
  const [root = ''] = splitCertificates(await opened.serverRootsPem())
  const path = [...chain, root]
  for (const [index, pem] of chain.entries()) t.ok(await isSignedBy(pem, path[index + 1] ?? ''))
  t.equal(certificate.identity.clientRootsPem, await opened.server.rootsPem())
}

t.test('embedded: our own root, which replicas share and which can be rotated', async (t) => {
  t.testdir()
  const [one, other] = [await open(t), await open(t)]
  t.equal(await one.signing.rootsPem(), await other.signing.rootsPem())
  await signs(t, one)
  await serves(t, one)
  t.equal((await one.root?.rotation())?.phase, 'steady')
  t.equal((await one.listSigners()).length, 1)
})

t.test('cacerts: an intermediate in files; its chain is served, its root is not rotated here', async (t) => {
  const directory = t.testdir()
  const [root, ca] = [await generateKeyPair(), await generateKeyPair()]
  const life = { notBeforeMs: clock.nowMs - DAY_MS, notAfterMs: clock.nowMs + DAY_MS }
  const rootPem = await createRootCertificate(root, 'root', life.notBeforeMs, life.notAfterMs)
  const signer = { certificatePem: rootPem, privateKey: root.privateKey }
  const template = { publicKeyInfo: await publicKeyInfoOf(ca), uris: [], ...life, isCa: true }
  const caPem = await signCertificate(signer, { ...template, organization: 'intermediate' })
  const write = (file: string, text: string): void =>
    writeFileSync(join(directory, file), text, { mode: 0o600 })
  write('root-cert.pem', rootPem)
  write('ca-cert.pem', caPem)
  write('cert-chain.pem', `${caPem}${rootPem}`)
  write('ca-key.pem', await exportPrivateKey(ca.privateKey))
  const args = ['--ca-source', 'cacerts', '--cacerts-directory', directory]
  const opened = await open(t, ...args)
  await signs(t, opened)
  await serves(t, opened)
  t.equal(opened.root, null)
  t.equal((await opened.listSigners()).length, 1)
  t.notOk(readdirSync(directory).includes('ca'), 'no key of our own is made')
  chmodSync(join(directory, 'ca-key.pem'), 0o644)
  await t.rejects(open(t, ...args), { code: 'CA_KEY' })
  rmSync(join(directory, 'ca-key.pem'))
  await t.rejects(open(t, ...args), { code: 'CA_KEY', detail: /ca-key.pem is missing/ })
})

t.test('vault: signs there; a root of our own is for the controller’s certificate only', async (t) => {
  const directory = t.testdir()
  const vault = await TestVault.start(clock.nowMs)
  t.teardown(() => vault.close())
  writeFileSync(join(directory, 'token'), vault.token)
  const rootsFile = join(directory, 'roots.pem')
  const args = [
    ...['--ca-source', 'vault', '--ca-address', vault.address, '--vault-mount', 'pki_int'],
    ...['--vault-role', 'mesh', '--ca-token-file', join(directory, 'token'), '--ca-roots-file', rootsFile],
  ]
  await t.rejects(open(t, ...args), { code: 'CA_KEY', detail: /no roots in/ })
  writeFileSync(rootsFile, 'nonsense')
  await t.rejects(open(t, ...args), { code: 'CA_KEY' })
  writeFileSync(rootsFile, vault.rootPem)
  const opened = await open(t, ...args)
  await signs(t, opened)
  await serves(t, opened)
  t.same([opened.root, await opened.listSigners()], [null, []])
  const own = splitCertificates(await opened.serverRootsPem())
  t.notOk((await opened.server.rootsPem()).includes(own[0] ?? '?'), 'no node is believed because of it')
  writeFileSync(join(directory, 'token'), 'hvs.wrong')
  await t.rejects(opened.signing.sign(await planFor(CART, clock.nowMs)), { code: 'CERT_INVALID' })
})

t.test('istio: signs at a server of its CA service, with our token', async (t) => {
  const directory = t.testdir()
  const authority = await RootAuthority.open({ store: memoryKeyStore(), trustDomain: TRUST_DOMAIN, clock })
  const audit = new AuditLog({ append: async () => {}, close: async () => {} })
  const caller: Caller = {
    ...{ kind: 'caller', node: 'controller', account: 'controller' },
    authorise: async (wanted) => wanted ?? refuse('IDENTITY_REFUSED', 'none'),
  }
  const attest: Attestor['attest'] = async ({ metadata }) =>
    metadata.get('authorization') === 'Bearer let-me' ? caller : refuse('TOKEN_INVALID', 'who?')
  const tls = await serverCertificate()
  const server = await GrpcServer.start({
    ...{ host: '127.0.0.1', port: 0, clock, identity: tls },
    methods: [caMethod({ trustDomain: TRUST_DOMAIN, attestor: { attest }, authority, audit, clock })],
  })
  t.teardown(() => server.stop(0))
  const files = { roots: await authority.rootsPem(), tls: tls.rootPem, token: 'let-me\n' }
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text)
  const args = [
    ...['--ca-source', 'istio', '--ca-address', `localhost:${server.port}`],
    ...['--ca-tls-roots-file', join(directory, 'tls'), '--ca-roots-file', join(directory, 'roots')],
  ]
  const opened = await open(t, ...args, '--ca-token-file', join(directory, 'token'))
  await signs(t, opened)
  await serves(t, opened)
  t.same([opened.root, await opened.listSigners()], [null, []])
  const stranger = await open(t, ...args)
  await t.rejects(stranger.signing.sign(await planFor(CART, clock.nowMs)), { name: 'MeshError' })
})
