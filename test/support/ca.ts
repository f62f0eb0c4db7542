// SPDX-License-Identifier: Apache-2.0
// What tests of the CA share: requests, keys, stores in memory, a Kubernetes that says what a test wants.

import type { Credentials } from '../../controller/ca/attestation.ts'
import type { KeyStore } from '../../controller/ca/key-store.ts'
import type { SigningPlan } from '../../controller/ca/signing.ts'
import type { KubernetesIdentity, PodFacts, ReviewedToken } from '../../controller/ca/token-review.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { CallMetadata } from '../../mesh/grpc/calls.ts'
import {
  createCertificateRequest,
  exportPrivateKey,
  generateKeyPair,
  parseCertificateRequest,
} from '../../mesh/identity/pki.ts'

export const TRUST_DOMAIN = 'cluster.local'
export const CART = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart`
export const FRONT = `spiffe://${TRUST_DOMAIN}/ns/shop/sa/front`

/** A request over a fresh key. */
export interface TestRequest {
  readonly csrPem: string
  readonly publicKeyInfo: Uint8Array
  readonly privateKeyPem: string
}

/** A request whose SAN names `identity`. */
export async function requestFor(identity: string): Promise<TestRequest> {
  const pair = await generateKeyPair()
  const csrPem = await createCertificateRequest(pair, identity)
  const request = await parseCertificateRequest(csrPem)
  if (isRefusal(request)) throw new Error(request.detail)
  return {
    csrPem,
    publicKeyInfo: request.publicKeyInfo,
    privateKeyPem: await exportPrivateKey(pair.privateKey),
  }
}

/** A plan as decideSigning makes it. */
export async function planFor(
  identity: string,
  nowMs: number,
  lifetimeMs = 86_400_000,
): Promise<SigningPlan & TestRequest> {
  const request = await requestFor(identity)
  return { ...request, identity, notBeforeMs: nowMs - 120_000, notAfterMs: nowMs + lifetimeMs }
}

/** A store in memory; `isDown` makes it fail. Two users of one see each other's writes. */
export function memoryKeyStore(): KeyStore & { isDown: boolean; readonly texts: Map<string, string> } {
  const texts = new Map<string, string>()
  const versions = new Map<string, number>()
  const store = {
    isDown: false,
    texts,
    read: async (name: string) => {
      if (store.isDown) throw new Error('the store is down')
      const text = texts.get(name)
      return text === undefined ? null : { text, version: String(versions.get(name)) }
    },
    write: async (name: string, text: string, version: string | null) => {
      if (store.isDown) throw new Error('the store is down')
      if (Number(version ?? 0) !== (versions.get(name) ?? 0)) return false
      versions.set(name, (versions.get(name) ?? 0) + 1)
      texts.set(name, text)
      return true
    },
  }
  return store
}

/** Credentials with these headers. */
export function credentialsOf(
  headers: Readonly<Record<string, string>>,
  nowMs: number,
  certificateDer?: Buffer,
): Credentials {
  const metadata: CallMetadata = { get: (name) => headers[name] }
  return { metadata, nowMs, peer: { address: '192.0.2.1:1000', certificateDer } }
}

/** Kubernetes as a test wants it: pods by `namespace/name`, tokens by their text. */
export class TestKubernetes implements KubernetesIdentity {
  readonly pods = new Map<string, PodFacts>()
  readonly tokens = new Map<string, ReviewedToken>()
  isDown = false
  reviews = 0

  async reviewToken(token: string): Promise<ReviewedToken> {
    this.reviews++
    if (this.isDown) throw new Error('connect ECONNREFUSED')
    const unknown = { authenticated: false, username: '', audiences: [], extra: {} }
    return this.tokens.get(token) ?? unknown
  }

  findPod(namespace: string, name: string): PodFacts | undefined {
    return this.pods.get(`${namespace}/${name}`)
  }

  hasPodOn(node: string, namespace: string, serviceAccount: string): boolean {
    return [...this.pods].some(
      ([name, pod]) =>
        name.startsWith(`${namespace}/`) && pod.node === node && pod.serviceAccount === serviceAccount,
    )
  }

  /** A running pod and the token its kubelet would mount; what differs is for hostile ones. */
  addPod(
    namespace: string,
    name: string,
    pod: PodFacts,
    differing: Partial<ReviewedToken> & { readonly extra?: Readonly<Record<string, readonly string[]>> } = {},
  ): string {
    this.pods.set(`${namespace}/${name}`, pod)
    const token = `token-of-${namespace}-${name}`
    const bound = {
      'authentication.kubernetes.io/pod-name': [name],
      'authentication.kubernetes.io/pod-uid': [pod.uid],
    }
    this.tokens.set(token, {
      authenticated: true,
      username: `system:serviceaccount:${namespace}:${pod.serviceAccount}`,
      audiences: ['istio-ca'],
      ...differing,
      extra: { ...bound, ...differing.extra },
    })
    return token
  }
}
