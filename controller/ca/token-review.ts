// SPDX-License-Identifier: Apache-2.0
// Believes tokens of Kubernetes service accounts: pod-bound, for the audience `istio-ca`, reviewed by the apiserver.
// A node account (ztunnel's) may ask on behalf of service accounts that have a pod on the node it runs on itself.
import { createHash } from 'node:crypto'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { JOIN_TOKEN_PREFIX, NODE_NAMESPACE } from '../../mesh/identity/node-identity.ts'
import { formatSpiffeId } from '../../mesh/identity/spiffe.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { type Attestor, bearerTokenOf, type Caller, parseRequestedIdentity } from './attestation.ts'

// SPEC HBONE §2: the audience of the tokens of Istio's agents and ztunnels.
const AUDIENCE = 'istio-ca'
const USER_PREFIX = 'system:serviceaccount:'
const POD_NAME = 'authentication.kubernetes.io/pod-name'
const POD_UID = 'authentication.kubernetes.io/pod-uid'
const NODE_NAME = 'authentication.kubernetes.io/node-name'
/** A reviewed token is believed again for so long without asking: a node asks for many certificates at once. */
const REVIEW_LIFETIME_MS = 10_000
/** Reviewed tokens that are remembered. */
const MAX_REVIEWS = 4_096

/** status of a TokenReview, as the apiserver answers it. */
export interface ReviewedToken {
  readonly authenticated: boolean
  readonly username: string
  readonly audiences: readonly string[]
  readonly extra: Readonly<Record<string, readonly string[]>>
}

/** What is known of a pod. */
export interface PodFacts {
  readonly uid: string
  readonly node: string
  readonly serviceAccount: string
}

/** The questions to Kubernetes. Pods come from the watch, so that their look-ups cost nothing. */
export interface KubernetesIdentity {
  /** @throws when the apiserver cannot answer: the caller may try again */
  reviewToken(token: string, audience: string, signal: AbortSignal): Promise<ReviewedToken>
  /** Pods that have not ended. */
  findPod(namespace: string, name: string): PodFacts | undefined
  hasPodOn(node: string, namespace: string, serviceAccount: string): boolean
}

/** What a token review attestor is made of. */
export interface TokenReviewOptions {
  readonly kubernetes: KubernetesIdentity
  readonly trustDomain: string
  readonly clock: Clock
  /** `namespace/name` of the accounts that may ask on behalf of others. */
  readonly nodeAccounts: readonly string[]
  /** Longest review. Default 5 s. */
  readonly reviewTimeoutMs?: number
}

/** Longest wait for the apiserver: half of what a node waits for us. */
const REVIEW_TIMEOUT_MS = 5_000

interface Account {
  readonly namespace: string
  readonly name: string
  readonly node: string
}

/** Believes what the apiserver believes. */
export function tokenReviewAttestor(options: TokenReviewOptions): Attestor {
  const reviews = new Map<string, { readonly untilMs: number; readonly reviewed: Promise<ReviewedToken> }>()
  const review = (token: string): Promise<ReviewedToken> => {
    const nowMs = options.clock.nowMs
    const key = createHash('sha256').update(token).digest('base64') // tokens are not kept in memory
    const known = reviews.get(key)
    // The second half: a clock that stepped back must not make a review last.
    if (known !== undefined && nowMs < known.untilMs && nowMs >= known.untilMs - REVIEW_LIFETIME_MS)
      return known.reviewed
    const reviewed = reviewOnce(options, token)
    reviews.delete(key)
    if (reviews.size >= MAX_REVIEWS) reviews.delete(reviews.keys().next().value ?? '')
    reviews.set(key, { untilMs: nowMs + REVIEW_LIFETIME_MS, reviewed })
    // Only what was authenticated is remembered: garbage must not push out what is real, nor an outage last longer.
    const forget = (): void => void (reviews.get(key)?.reviewed === reviewed && reviews.delete(key))
    reviewed.then(({ authenticated }) => authenticated || forget(), forget)
    return reviewed
  }
  return {
    attest: async ({ metadata }) => {
      const token = bearerTokenOf(metadata)
      if (token === null || isRefusal(token)) return token
      if (token.startsWith(JOIN_TOKEN_PREFIX)) return null
      const account = accountOf(await review(token), options.kubernetes)
      return isRefusal(account) ? account : callerOf(account, options)
    },
  }
}

async function reviewOnce(options: TokenReviewOptions, token: string): Promise<ReviewedToken> {
  const abort = new AbortController()
  const { clock, kubernetes, reviewTimeoutMs = REVIEW_TIMEOUT_MS } = options
  return await new Promise((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(
        new MeshError('CERT_UNAVAILABLE', {
          retryable: true,
          detail: 'the apiserver did not review the token',
          cause,
        }),
      )
    const timer = clock.startTimer(reviewTimeoutMs, () => {
      abort.abort()
      fail('timeout')
    })
    kubernetes
      .reviewToken(token, AUDIENCE, abort.signal)
      .then(resolve, fail)
      .finally(() => timer.cancel())
  })
}

/** Reads a review; pure. The pod must be there, be the one the token was made for, and run under that account. */
function accountOf(review: ReviewedToken, kubernetes: KubernetesIdentity): Account | Refusal {
  if (!review.authenticated) return refuse('TOKEN_INVALID', 'the apiserver does not know the token')
  if (!review.audiences.includes(AUDIENCE))
    return refuse('TOKEN_INVALID', 'the token is for another audience')
  const [namespace, name, ...rest] = review.username.slice(USER_PREFIX.length).split(':')
  if (!review.username.startsWith(USER_PREFIX) || !namespace || !name || rest.length > 0)
    return refuse('TOKEN_INVALID', 'the token is not that of a service account')
  if (namespace === NODE_NAMESPACE) return refuse('TOKEN_INVALID', 'the namespace of nodes has no accounts')
  const podName = onlyValue(review.extra[POD_NAME])
  const podUid = onlyValue(review.extra[POD_UID])
  if (podName === undefined || podUid === undefined)
    return refuse('TOKEN_INVALID', 'the token is not bound to a pod')
  const pod = kubernetes.findPod(namespace, podName)
  if (pod === undefined || pod.uid !== podUid)
    return refuse('TOKEN_INVALID', `pod ${namespace}/${podName} of the token does not exist (any more)`)
  if (pod.serviceAccount !== name)
    return refuse('TOKEN_INVALID', `pod ${namespace}/${podName} runs under another service account`)
  if (pod.node === '') return refuse('TOKEN_INVALID', `pod ${namespace}/${podName} runs on no node`)
  // Kubernetes names the node in the token since 1.30; where it does, it must be the one the pod is on.
  const claimedNode = onlyValue(review.extra[NODE_NAME])
  if (claimedNode !== undefined && claimedNode !== pod.node)
    return refuse('TOKEN_INVALID', `the token was made on node ${claimedNode}, the pod is on ${pod.node}`)
  return { namespace, name, node: pod.node }
}

function callerOf({ namespace, name, node }: Account, options: TokenReviewOptions): Caller {
  const { trustDomain, nodeAccounts, kubernetes } = options
  const account = `${namespace}/${name}`
  const own = formatSpiffeId({ trustDomain, namespace, serviceAccount: name })
  return {
    kind: 'caller',
    node,
    account,
    authorise: async (requested) => {
      if (requested === null || requested === own) return own
      if (!nodeAccounts.includes(account))
        return refuse('IDENTITY_REFUSED', `${account} is no node account, it asks for ${requested}`)
      const id = parseRequestedIdentity(requested, trustDomain)
      if (isRefusal(id)) return id
      if (kubernetes.hasPodOn(node, id.namespace, id.serviceAccount)) return requested
      return refuse('IDENTITY_REFUSED', `no pod of ${id.namespace}/${id.serviceAccount} on node ${node}`)
    },
  }
}

function onlyValue(values: readonly string[] | undefined): string | undefined {
  return values?.length === 1 ? values[0] : undefined
}
