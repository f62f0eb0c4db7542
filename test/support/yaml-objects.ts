// SPDX-License-Identifier: Apache-2.0
// Objects of the configuration for tests, from YAML as people write it.
import { parseAllDocuments } from 'yaml'
import {
  type ConfigObject,
  type ConfigView,
  groupOf,
  kindKey,
  type OwnerReference,
} from '../../controller/watch/config-object.ts'

type RawMap = Record<string, unknown>

/** The objects of a text with one document each. @throws Error when it is no YAML */
export function parseObjects(text: string): ConfigObject[] {
  return parseAllDocuments(text).flatMap((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    const raw: unknown = document.toJS()
    return raw === null ? [] : [toObject(raw as RawMap)] // as: a test writes objects
  })
}

/** An object as a source would deliver it: metadata is read, the rest is as it stands. */
export function toObject(raw: RawMap): ConfigObject {
  const { apiVersion, kind, metadata, spec, status, ...rest } = raw
  const meta = (metadata ?? {}) as RawMap // as: see above
  return {
    apiVersion: String(apiVersion),
    kind: String(kind),
    metadata: {
      name: String(meta.name),
      namespace: String(meta.namespace ?? ''),
      uid: String(meta.uid ?? ''),
      labels: (meta.labels ?? {}) as Record<string, string>, // as: see above
      annotations: (meta.annotations ?? {}) as Record<string, string>, // as: see above
      generation: 1,
      resourceVersion: String(meta.resourceVersion ?? '1'),
      createdMs: Date.parse(String(meta.creationTimestamp)),
      isDeleting: meta.deletionTimestamp !== undefined,
      ownerReferences: (meta.ownerReferences ?? []) as OwnerReference[], // as: see above
    },
    spec: (spec ?? {}) as RawMap, // as: garbage is wanted here
    status: (status ?? {}) as RawMap, // as: garbage is wanted here
    rest,
    origin: null,
  }
}

/** A view of some objects, in the order of namespace and name. */
export function viewOf(objects: Iterable<ConfigObject>): ConfigView {
  const byKind = new Map<string, Map<string, ConfigObject>>()
  for (const object of objects) {
    const key = kindKey(groupOf(object.apiVersion), object.kind)
    const { namespace, name } = object.metadata
    byKind.set(key, (byKind.get(key) ?? new Map()).set(`${namespace}/${name}`, object))
  }
  const lists = new Map(
    [...byKind].map(([key, found]) => [key, [...found].toSorted(byKey).map(([, object]) => object)]),
  )
  return {
    list: (key) => lists.get(key) ?? [],
    get: (key, namespace, name) => byKind.get(key)?.get(`${namespace}/${name}`),
  }
}

function byKey([left]: [string, unknown], [right]: [string, unknown]): number {
  return left < right ? -1 : left === right ? 0 : 1
}
