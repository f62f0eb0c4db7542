// SPDX-License-Identifier: Apache-2.0
// What the CA asks Kubernetes: whose token is this, and what runs where. Tokens are reviewed by the apiserver; pods
// come from the watch.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import type { KubernetesIdentity, PodFacts, ReviewedToken } from '../ca/token-review.ts'
import type { ConfigObject, ConfigView } from '../watch/config-object.ts'
import { isMap, type RawMap } from '../watch/value-mistakes.ts'

const TOKEN_REVIEWS = '/apis/authentication.k8s.io/v1/tokenreviews'
/** Phases in which a pod runs nothing any more. */
const ENDED = ['Succeeded', 'Failed']
/** The account of a pod that names none. */
const DEFAULT_ACCOUNT = 'default'

/** Where the pods come from. */
export interface PodView {
  readonly view: ConfigView
  /** False until all of them are known. */
  isSynced(): boolean
}

/** The questions, answered by an apiserver and by what was watched of it. */
export function kubernetesIdentity(client: KubernetesClient, pods: PodView): KubernetesIdentity {
  const accounts = new NodeAccounts(pods)
  return {
    reviewToken: async (token, audience, signal) => {
      const review = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences: [audience] },
      }
      return readReview(await client.create(TOKEN_REVIEWS, review, signal))
    },
    findPod: (namespace, name) => {
      assertSynced(pods)
      const pod = pods.view.get('Pod', namespace, name)
      return pod === undefined || hasEnded(pod) ? undefined : factsOf(pod)
    },
    hasPodOn: (node, namespace, serviceAccount) => accounts.has(node, namespace, serviceAccount),
  }
}

/** `status` of a TokenReview. Pure; whatever is missing or of another type proves nothing. */
export function readReview(value: unknown): ReviewedToken {
  const status = mapOf(mapOf(value).status)
  const user = mapOf(status.user)
  const extra = Object.entries(mapOf(user.extra)).map(([key, values]) => [key, textsOf(values)] as const)
  return {
    authenticated: status.authenticated === true,
    username: typeof user.username === 'string' ? user.username : '',
    audiences: textsOf(status.audiences),
    extra: Object.fromEntries(extra),
  }
}

/** Which accounts have a pod on which node; made anew when pods have changed and somebody asks. */
class NodeAccounts {
  readonly #pods: PodView
  #made: readonly ConfigObject[] | null = null
  #keys = new Set<string>()

  constructor(pods: PodView) {
    this.#pods = pods
  }

  has(node: string, namespace: string, serviceAccount: string): boolean {
    assertSynced(this.#pods)
    const pods = this.#pods.view.list('Pod')
    if (pods !== this.#made) {
      this.#keys = new Set(pods.filter((pod) => !hasEnded(pod)).map((pod) => keyOf(pod)))
      this.#made = pods
    }
    return node !== '' && this.#keys.has(`${node}/${namespace}/${serviceAccount}`)
  }
}

function keyOf(pod: ConfigObject): string {
  const { node, serviceAccount } = factsOf(pod)
  return `${node}/${pod.metadata.namespace}/${serviceAccount}`
}

function factsOf({ metadata, spec }: ConfigObject): PodFacts {
  return {
    uid: metadata.uid,
    node: typeof spec.nodeName === 'string' ? spec.nodeName : '',
    serviceAccount:
      typeof spec.serviceAccountName === 'string' && spec.serviceAccountName !== ''
        ? spec.serviceAccountName
        : DEFAULT_ACCOUNT,
  }
}

function hasEnded({ status }: ConfigObject): boolean {
  return typeof status.phase === 'string' && ENDED.includes(status.phase)
}

/** Nobody is refused because we have just started. */
function assertSynced(pods: PodView): void {
  if (!pods.isSynced())
    throw new MeshError('CERT_UNAVAILABLE', { retryable: true, detail: 'the pods are not known yet' })
}

function mapOf(value: unknown): RawMap {
  return isMap(value) ? value : {}
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string') : []
}
