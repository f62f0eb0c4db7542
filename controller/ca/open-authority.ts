// SPDX-License-Identifier: Apache-2.0
// Opens the CA that the options name, and says what else its key may sign: the controller's own certificate and the
// revocation lists. Where the key is elsewhere a root of our own, which no node believes for anything else, signs the
// controller's certificate, and there are no lists.
import { readFile } from 'node:fs/promises'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { openGrpcClient } from '../../mesh/grpc/client.ts'
import { type Signer, splitCertificates } from '../../mesh/identity/pki.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { ControllerConfig } from '../config.ts'
import type { ServerCertificateSigner } from '../server-certificate.ts'
import { openCacerts } from './cacerts.ts'
import { istioUpstream, vaultUpstream } from './external.ts'
import type { KeyStore } from './key-store.ts'
import { RootAuthority } from './root-authority.ts'
import type { SigningAuthority } from './signing.ts'

/** What opening needs. */
export interface AuthorityContext {
  readonly config: ControllerConfig
  /** Of caDirectory. */
  readonly store: KeyStore
  readonly clock: Clock
  readonly log: Log
}

/** An open CA. */
export interface OpenedAuthority {
  /** Signs what nodes ask for. */
  readonly signing: SigningAuthority
  /** Our own root, if it is the mesh's: only then it is rotated here. */
  readonly root: RootAuthority | null
  /** Signs the controller's own certificate. */
  readonly server: ServerCertificateSigner
  /** What the controller's own certificate is verified with. */
  serverRootsPem(): Promise<string>
  /** Who signs revocation lists; nobody where the key is elsewhere. */
  listSigners(): Promise<readonly Signer[]>
  close(): void
}

/** @throws MeshError CA_KEY when a file is missing, unreadable or does not fit; CERT_INVALID: unreadable TLS roots */
export function openAuthority(context: AuthorityContext): Promise<OpenedAuthority> {
  const openers: Readonly<Record<string, (context: AuthorityContext) => Promise<OpenedAuthority>>> = {
    embedded: openEmbedded,
    cacerts: openFromFiles,
    istio: openIstio,
    vault: openVault,
  }
  const open = openers[context.config.caSource]
  if (open === undefined) throw new MeshError('INTERNAL', { detail: `no CA ${context.config.caSource}` })
  return open(context)
}

async function openEmbedded(context: AuthorityContext): Promise<OpenedAuthority> {
  const root = await openRoot(context)
  return {
    ...{ signing: root, root, server: root, close: () => {} },
    serverRootsPem: () => root.rootsPem(),
    listSigners: () => root.signers(),
  }
}

async function openFromFiles({ config, clock, log }: AuthorityContext): Promise<OpenedAuthority> {
  const cacerts = await openCacerts({
    directory: config.cacertsDirectory,
    clock,
    onMistake: (err) => log.error({ err, reason: err.code }, 'the new files of the CA are not used'),
  })
  return {
    ...{ signing: cacerts, root: null, server: cacerts, close: () => {} },
    serverRootsPem: () => cacerts.rootsPem(),
    listSigners: () => cacerts.signers(),
  }
}

async function openIstio(context: AuthorityContext): Promise<OpenedAuthority> {
  const { caAddress: address, caTlsRootsFile, caTokenFile, clusterId } = context.config
  const client = openGrpcClient({
    address,
    ...(caTlsRootsFile === '' ? {} : { rootsPem: await readRoots(caTlsRootsFile) }),
  })
  const upstream = istioUpstream({
    ...{ client, clusterId, clock: context.clock },
    ...(caTokenFile === '' ? {} : { tokenFile: caTokenFile }),
  })
  return { ...(await besideOwnRoot(context, upstream)), close: () => client.close() }
}

async function openVault(context: AuthorityContext): Promise<OpenedAuthority> {
  const { config, clock } = context
  const { caAddress, vaultMount, vaultRole, vaultNamespace, caTokenFile, caTlsRootsFile } = config
  const options = {
    ...{ address: caAddress, mount: vaultMount, role: vaultRole, tokenFile: caTokenFile, clock },
    ...(vaultNamespace === '' ? {} : { namespace: vaultNamespace }),
    ...(caTlsRootsFile === '' ? {} : { tlsRootsPem: await readRoots(caTlsRootsFile) }),
  }
  const upstream: SigningAuthority = {
    name: 'vault',
    // Read anew for every signature: the roots of the mesh change while we run.
    sign: async (plan) =>
      await vaultUpstream({ ...options, rootsPem: await readRoots(config.caRootsFile) }).sign(plan),
    rootsPem: () => readRoots(config.caRootsFile),
  }
  return { ...(await besideOwnRoot(context, upstream)), close: () => {} }
}

/** A CA elsewhere, whose roots are in a file. @throws CA_KEY when that file is unreadable */
async function besideOwnRoot(
  context: AuthorityContext,
  signing: SigningAuthority,
): Promise<Omit<OpenedAuthority, 'close'>> {
  const rootsPem = (): Promise<string> => readRoots(context.config.caRootsFile)
  await rootsPem()
  const own = await openRoot(context)
  return {
    signing: { ...signing, rootsPem },
    root: null,
    server: { signers: () => own.signers(), rootsPem },
    serverRootsPem: () => own.rootsPem(),
    listSigners: async () => [],
  }
}

function openRoot({ config, store, clock }: AuthorityContext): Promise<RootAuthority> {
  return RootAuthority.open({ store, trustDomain: config.trustDomain, clock })
}

async function readRoots(path: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8')
    if (splitCertificates(text).length === 0) throw new Error('no certificate in it')
    return text
  } catch (cause) {
    throw new MeshError('CA_KEY', { detail: `no roots in ${path}`, cause })
  }
}
