// SPDX-License-Identifier: Apache-2.0
// A CA from files in Istio's `cacerts` format: an intermediate, as a mounted Secret brings it. Replaced by whoever owns
// the files: looked at again every few seconds; what is unusable is told and the last good one stays in force.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import {
  type CertificateFacts,
  isSignedBy,
  parseCertificate,
  type Signer,
  signCertificate,
  splitCertificates,
} from '../../mesh/identity/pki.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { readSecretFile } from './key-store.ts'
import { loadSigner } from './root-authority.ts'
import type { SigningAuthority, SigningPlan } from './signing.ts'

/** Signer, its key, the roots, and the way from the one to the other. */
const FILES = ['ca-cert.pem', 'ca-key.pem', 'root-cert.pem', 'cert-chain.pem'] as const
const REFRESH_MS = 5_000 // a kubelet needs a minute to bring a changed Secret: more often helps nobody
/** Certificates between a leaf and its root: no real hierarchy is deeper. */
const MAX_INTERMEDIATES = 8
const WORLD_READABLE = 0o007 // a group may read: a Secret's volume belongs to the pod's fsGroup

/** What a CacertsAuthority is made of. */
export interface CacertsOptions {
  readonly directory: string
  readonly clock: Clock
  /** Hears why new files are not used. */
  readonly onMistake: (error: MeshError) => void
}

/** The CA, with what else its key is needed for. */
export interface CacertsAuthority extends SigningAuthority {
  signers(): Promise<readonly Signer[]>
  /** From the signer up to below the root, concatenated: what a certificate of the signer is served with. */
  intermediatesPem(): Promise<string>
}

interface Loaded {
  readonly signer: Signer
  /** From the signer up, without roots. */
  readonly intermediatesPem: readonly string[]
  readonly rootsPem: string
  readonly notBeforeMs: number
  /** The first end of signer, intermediates and root. */
  readonly notAfterMs: number
}

/** Opens the files. @throws CA_KEY when one is missing, the key is world-readable, or they do not fit together */
export async function openCacerts(options: CacertsOptions): Promise<CacertsAuthority> {
  const { directory, clock, onMistake } = options
  let stamp = await stampOf(directory)
  let loaded = await load(directory)
  let lookedAtMs = clock.nowMs
  const current = async (): Promise<Loaded> => {
    if (Math.abs(clock.nowMs - lookedAtMs) < REFRESH_MS) return loaded
    lookedAtMs = clock.nowMs
    try {
      const newStamp = await stampOf(directory)
      if (newStamp === stamp) return loaded
      stamp = newStamp
      loaded = await load(directory)
    } catch (cause) {
      onMistake(cause instanceof MeshError ? cause : new MeshError('CA_KEY', { detail: directory, cause }))
    }
    return loaded
  }
  return {
    name: 'cacerts',
    sign: async (plan) => await sign(await current(), plan, clock.nowMs),
    rootsPem: async () => (await current()).rootsPem,
    signers: async () => [(await current()).signer],
    intermediatesPem: async () => (await current()).intermediatesPem.join(''),
  }
}

async function sign(loaded: Loaded, plan: SigningPlan, nowMs: number): Promise<readonly string[]> {
  const { signer, intermediatesPem, rootsPem, notBeforeMs, notAfterMs } = loaded
  if (nowMs >= notAfterMs) throw new MeshError('CERT_EXPIRED', { detail: 'the CA certificate has expired' })
  if (nowMs < notBeforeMs)
    throw new MeshError('CERT_NOT_YET_VALID', { detail: 'the CA certificate lies in the future' })
  const leaf = await signCertificate(signer, {
    publicKeyInfo: plan.publicKeyInfo,
    uris: [plan.identity],
    notBeforeMs: plan.notBeforeMs,
    notAfterMs: Math.min(plan.notAfterMs, notAfterMs),
  })
  return [leaf, ...intermediatesPem, rootsPem]
}

async function load(directory: string): Promise<Loaded> {
  const [caCert, caKey, rootCert, certChain] = await Promise.all(
    FILES.map(async (file) => {
      const text = await readSecretFile(join(directory, file), file === 'ca-key.pem' ? WORLD_READABLE : 0)
      // Istio treats the chain as optional: a CA right below its root has none.
      if (text === null && file !== 'cert-chain.pem')
        throw new MeshError('CA_KEY', { detail: `${join(directory, file)} is missing` })
      return text ?? ''
    }),
  )
  const { signer, signerFacts } = await loadSigner(caCert ?? '', caKey ?? '')
  const roots = readAll(rootCert ?? '', 'root-cert.pem')
  const path = await pathToRoot(signerFacts, readAll(certChain ?? '', 'cert-chain.pem'), roots)
  return {
    signer,
    intermediatesPem: path.slice(0, -1).map(({ pem }) => pem),
    rootsPem: roots.map(({ pem }) => pem).join(''),
    notBeforeMs: Math.max(...path.map(({ notBeforeMs }) => notBeforeMs)),
    notAfterMs: Math.min(...path.map(({ notAfterMs }) => notAfterMs)),
  }
}

/** Signer first, root last; one element if the signer is the root. */
async function pathToRoot(
  signer: CertificateFacts,
  chain: readonly CertificateFacts[],
  roots: readonly CertificateFacts[],
): Promise<CertificateFacts[]> {
  const path = [signer]
  for (let at = signer; path.length <= MAX_INTERMEDIATES; ) {
    if (roots.some(({ pem }) => pem === at.pem)) return path
    const parent = await findIssuer(at, roots.concat(chain))
    if (parent === undefined) break
    path.push(parent)
    at = parent
  }
  throw new MeshError('CA_KEY', { detail: 'no path from ca-cert.pem over cert-chain.pem to root-cert.pem' })
}

async function findIssuer(
  of: CertificateFacts,
  among: readonly CertificateFacts[],
): Promise<CertificateFacts | undefined> {
  for (const candidate of among) {
    const isNamed = candidate.isCa && candidate.subject === of.issuer && candidate.pem !== of.pem
    if (isNamed && (await isSignedBy(of.pem, candidate.pem))) return candidate
  }
  return undefined
}

function readAll(pem: string, file: string): CertificateFacts[] {
  return splitCertificates(pem).map((block) => {
    const facts = parseCertificate(block)
    if (isRefusal(facts)) throw new MeshError('CA_KEY', { detail: `${file}: ${facts.detail}` })
    return facts
  })
}

async function stampOf(directory: string): Promise<string> {
  const stamps = FILES.map(async (file) => {
    const facts = await stat(join(directory, file)).catch(() => null)
    return facts === null ? '-' : `${facts.ino} ${facts.size} ${facts.mtimeMs}`
  })
  return (await Promise.all(stamps)).join('|')
}
