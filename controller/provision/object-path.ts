// SPDX-License-Identifier: Apache-2.0
// Objects as they are sent to an apiserver, and where they stand there. Pure.
import { groupOf } from '../watch/config-object.ts'

/** An object to apply: what it says is what we own. */
export interface KubernetesObject {
  readonly apiVersion: string
  readonly kind: KnownKind
  readonly metadata: {
    readonly name: string
    /** Absent for cluster-scoped kinds. */
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly ownerReferences?: readonly Readonly<Record<string, unknown>>[]
  }
  readonly [field: string]: unknown
}

/** Kinds that are made, and their names in a path; controller/rbac.yaml allows exactly these. */
export const PROVISIONED_KINDS = {
  Deployment: 'deployments',
  Gateway: 'gateways',
  GatewayClass: 'gatewayclasses',
  PodDisruptionBudget: 'poddisruptionbudgets',
  Service: 'services',
  ServiceAccount: 'serviceaccounts',
} as const

type KnownKind = keyof typeof PROVISIONED_KINDS

/** `/apis/apps/v1/namespaces/shop/deployments/cart`. */
export function objectPath({ apiVersion, kind, metadata }: KubernetesObject): string {
  const { name, namespace } = metadata
  const root = groupOf(apiVersion) === '' ? '/api' : '/apis'
  const scope = namespace === undefined ? '' : `/namespaces/${namespace}`
  return `${root}/${apiVersion}${scope}/${PROVISIONED_KINDS[kind]}/${name}`
}

/** For people: `Deployment shop/cart`. */
export function objectName({ kind, metadata }: KubernetesObject): string {
  const { name, namespace } = metadata
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`
}
