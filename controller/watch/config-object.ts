// SPDX-License-Identifier: Apache-2.0
// One Kubernetes object as every part of the controller sees it, whichever source it came from. Objects are never
// changed in place: an object that changed is another one, so that identity says "unchanged".

/** The parts of metadata that the mesh reads. */
export interface ObjectMeta {
  readonly name: string
  /** '' for cluster-scoped kinds. */
  readonly namespace: string
  readonly uid: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly generation: number
  readonly resourceVersion: string
  /** Epoch milliseconds; NaN when the source does not say. */
  readonly createdMs: number
  readonly isDeleting: boolean
  readonly ownerReferences: readonly OwnerReference[]
}

export interface OwnerReference {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
}

/** Where a file says it. Lines and columns count from 1. */
export interface ObjectOrigin {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** An object. What else it holds is read by whoever knows its kind, never trusted. */
export interface ConfigObject {
  /** `v1`, `apps/v1`, `security.istio.io/v1` … as it was written. */
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: ObjectMeta
  readonly spec: Readonly<Record<string, unknown>>
  readonly status: Readonly<Record<string, unknown>>
  /** Top-level fields besides these: `data` of a Secret, `endpoints` of an EndpointSlice … */
  readonly rest: Readonly<Record<string, unknown>>
  /** null when it did not come from a file. */
  readonly origin: ObjectOrigin | null
  /** There is a newer version that could not be read: this one is the last good one. */
  readonly unread?: UnreadVersion
}

/** A version of an object that does not count. */
export interface UnreadVersion {
  readonly generation: number
  /** The first of its mistakes. */
  readonly why: string
}

/** Names one object: its kind with the API group, namespace and name. */
export interface ObjectRef {
  /** `''` for the core group. */
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
}

/** `networking.istio.io` of `networking.istio.io/v1`, '' of `v1`. */
export function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/')
  return slash < 0 ? '' : apiVersion.slice(0, slash)
}

export function refOf({ apiVersion, kind, metadata }: ConfigObject): ObjectRef {
  return { group: groupOf(apiVersion), kind, namespace: metadata.namespace, name: metadata.name }
}

/** A text for maps and messages: `networking.istio.io/ServiceEntry/shop/db`. */
export function refKey({ group, kind, namespace, name }: ObjectRef): string {
  return `${group}/${kind}/${namespace}/${name}`
}

/** `ServiceEntry.networking.istio.io`, `Pod`: names a kind without its version. */
export function kindKey(group: string, kind: string): string {
  return group === '' ? kind : `${kind}.${group}`
}

/** All objects there are, by kind. What translation works on. */
export interface ConfigView {
  /** Objects of a kind in the order of namespace and name; `key` as kindKey() makes it. */
  list(key: string): readonly ConfigObject[]
  /** One object; `namespace` is '' for cluster-scoped kinds. */
  get(key: string, namespace: string, name: string): ConfigObject | undefined
}
