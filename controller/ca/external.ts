// SPDX-License-Identifier: Apache-2.0
// Certificate authorities outside the controller: servers of Istio's CA service, and Vault's PKI engine. The decision what
// to sign is taken before; the answer is checked like a stranger's: this key, this identity, no CA, a path to a root.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { GrpcClient } from '../../mesh/grpc/client.ts'
import { assembleCertificate } from '../../mesh/identity/certificate.ts'
import { requestCertificate } from '../../mesh/identity/istio-ca.ts'
import { isSignedBy, parseCertificate, splitCertificates } from '../../mesh/identity/pki.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { readTokenFile } from '../../mesh/runtime/token-file.ts'
import type { SigningAuthority, SigningPlan } from './signing.ts'
import { postJson } from './vault-http.ts'

/** Longest wait for a CA elsewhere: as long as a ztunnel waits for us. */
const UPSTREAM_TIMEOUT_MS = 10_000

/** What an upstream of Istio's CA service is made of. */
export interface IstioUpstreamOptions {
  readonly client: GrpcClient
  /** Read before every request: kubelets renew it. Absent: the client's certificate says who we are. */
  readonly tokenFile?: string
  readonly clusterId?: string
  readonly clock: Clock
}

/** What an upstream of Vault is made of. */
export interface VaultOptions {
  /** `https://vault.example:8200`. */
  readonly address: string
  /** Where the PKI engine is mounted, e.g. `pki_int`. */
  readonly mount: string
  /** Must allow the URI names of the mesh (`allowed_uri_sans`) and need no common name. */
  readonly role: string
  /** Read before every request: Vault's agent renews it. */
  readonly tokenFile: string
  /** Of Vault Enterprise. */
  readonly namespace?: string
  /** Roots of Vault's own TLS certificate. Absent: those of the system. */
  readonly tlsRootsPem?: string
  /** Roots of the mesh, if Vault's answer does not hold them: it stops below the root when it does not know it. */
  readonly rootsPem?: string
  readonly clock: Clock
}

/** Any server of Istio's CA service as our CA. */
export function istioUpstream(options: IstioUpstreamOptions): SigningAuthority {
  const { client, tokenFile, clusterId, clock } = options
  return remembering('istio', async (plan) => {
    const token = tokenFile === undefined ? undefined : await readTokenFile(tokenFile)
    const headers = {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(clusterId === undefined ? {} : { clusterid: clusterId }),
    }
    const facts = {
      csrPem: plan.csrPem,
      ttlSeconds: secondsOf(plan, clock.nowMs),
      impersonatedIdentity: plan.identity,
    }
    return await verified(await requestCertificate(client, facts, headers), plan, clock.nowMs)
  })
}

/** Vault's PKI engine as our CA: `POST /v1/<mount>/sign/<role>`. */
export function vaultUpstream(options: VaultOptions): SigningAuthority {
  const { address, mount, role, namespace, tlsRootsPem, tokenFile, clock } = options
  const url = new URL(`/v1/${mount}/sign/${encodeURIComponent(role)}`, address)
  return remembering('vault', async (plan) => {
    const answer = await postJson({
      url,
      headers: {
        'x-vault-token': await readTokenFile(tokenFile),
        'x-vault-request': 'true',
        ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
      },
      body: {
        csr: plan.csrPem,
        uri_sans: plan.identity,
        exclude_cn_from_sans: true,
        ttl: `${secondsOf(plan, clock.nowMs)}s`,
        format: 'pem',
      },
      timeoutMs: UPSTREAM_TIMEOUT_MS,
      ...(tlsRootsPem === undefined ? {} : { tlsRootsPem }),
    })
    return await verified(await vaultChain(answer, options.rootsPem), plan, clock.nowMs)
  })
}

/** The roots of the last answer are what its leaves are verified with; before the first there are none. */
function remembering(
  name: string,
  sign: (plan: SigningPlan) => Promise<readonly string[]>,
): SigningAuthority {
  let roots: string | null = null
  return {
    name,
    sign: async (plan) => {
      const chain = await sign(plan)
      roots = chain.at(-1) ?? null
      return chain
    },
    rootsPem: async () => {
      if (roots === null)
        throw new MeshError('CERT_UNAVAILABLE', { detail: `the ${name} CA has signed nothing yet` })
      return roots
    },
  }
}

function secondsOf({ notAfterMs }: SigningPlan, nowMs: number): number {
  return Math.max(1, Math.round((notAfterMs - nowMs) / 1000))
}

/** Vault's `data`, as the chain nodes expect. */
async function vaultChain(answer: unknown, knownRootsPem: string | undefined): Promise<readonly string[]> {
  const data = fieldOf(answer, 'data')
  const leaf = fieldOf(data, 'certificate')
  const issuing = fieldOf(data, 'issuing_ca')
  const rest = fieldOf(data, 'ca_chain')
  const texts = [...(Array.isArray(rest) ? rest : []), issuing].filter((text) => typeof text === 'string')
  if (typeof leaf !== 'string' || texts.length === 0)
    throw new MeshError('CERT_INVALID', { side: 'upstream', detail: "Vault's answer holds no certificate" })
  const above = [...new Set(texts.flatMap(splitCertificates).map((pem) => pem.trim()))]
  const selfSigned = await Promise.all(above.map((pem) => isSignedBy(pem, pem)))
  const roots = above.filter((_, index) => selfSigned[index])
  const rootsPem = knownRootsPem ?? roots.map((pem) => `${pem}\n`).join('')
  return [leaf, ...above.filter((_, index) => !selfSigned[index]), rootsPem]
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

/** The chain, if it is what was asked for. @throws CERT_INVALID, IDENTITY_MISMATCH, CERT_EXPIRED, CERT_NOT_YET_VALID */
async function verified(
  chain: readonly string[],
  { identity, publicKeyInfo }: SigningPlan,
  nowMs: number,
): Promise<readonly string[]> {
  const owner = { identity, publicKeyInfo, privateKeyPem: '' } // the key is the asker's
  const certificate = assembleCertificate(owner, chain, nowMs)
  if (isRefusal(certificate))
    throw new MeshError(certificate.code, { side: 'upstream', detail: certificate.detail })
  const { chainPem, rootsPem } = certificate
  const leaf = parseCertificate(chainPem[0] ?? '')
  // A second name would be a second identity, granted by somebody else.
  if (isRefusal(leaf) || leaf.uris.length !== 1)
    throw new MeshError('CERT_INVALID', { side: 'upstream', detail: 'the leaf has more than one name' })
  if (!(await isPathComplete(chainPem, rootsPem)))
    throw new MeshError('CERT_INVALID', { side: 'upstream', detail: 'the chain does not lead to a root' })
  return [...chainPem, rootsPem.join('')]
}

async function isPathComplete(chainPem: readonly string[], rootsPem: readonly string[]): Promise<boolean> {
  for (const [index, pem] of chainPem.entries()) {
    const next = chainPem[index + 1]
    if (next !== undefined && !(await isSignedBy(pem, next))) return false
    if (next === undefined) {
      const byRoot = await Promise.all(rootsPem.map((root) => isSignedBy(pem, root)))
      return byRoot.includes(true)
    }
  }
  return false
}
