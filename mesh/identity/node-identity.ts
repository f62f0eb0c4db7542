// SPDX-License-Identifier: Apache-2.0
// The identity of a node that joined by token: what it shows the controller, never what traffic is carried with.
import { formatSpiffeId } from './spiffe.ts'

/**
 * The namespace of the identities of nodes: `spiffe://<trust domain>/ns/sidestep.node/sa/<node>`. Kubernetes allows
 * no dot in a namespace's name, so no service account can have one.
 */
export const NODE_NAMESPACE = 'sidestep.node'

/** What every join token begins with: `sidestep-join.<id>.<secret>`. */
export const JOIN_TOKEN_PREFIX = 'sidestep-join.'

/** The identity of a node. */
export function nodeIdentity(trustDomain: string, node: string): string {
  return formatSpiffeId({ trustDomain, namespace: NODE_NAMESPACE, serviceAccount: node })
}
