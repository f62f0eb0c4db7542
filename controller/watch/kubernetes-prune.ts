// SPDX-License-Identifier: Apache-2.0
// Drops what the mesh never reads from an apiserver's objects, so that ten thousand pods fit into memory and the
// environment of a container, which may hold secrets, is nowhere in it. Pure; bad input passes as it is.
import { isMap, own, type RawMap } from './value-mistakes.ts'

/** `kubectl apply` keeps a copy of the whole object there. */
const COPY_ANNOTATION = 'kubectl.kubernetes.io/last-applied-configuration'

const POD_SPEC = ['nodeName', 'serviceAccountName', 'hostname', 'subdomain', 'hostNetwork']
const CONTAINER = ['name', 'ports', 'restartPolicy']
const POD_STATUS = ['phase', 'podIP', 'podIPs', 'hostIP']
const CONDITION = ['type', 'status']
const NODE_SPEC = ['podCIDR', 'podCIDRs', 'unschedulable', 'providerID']

/** The object without what nobody reads. */
export function pruneObject(kind: string, value: unknown): unknown {
  if (!isMap(value)) return value
  const pruned = { ...value, ...replaced(value, 'metadata', pruneMetadata) }
  if (kind === 'Pod') {
    return {
      ...pruned,
      ...replaced(value, 'spec', prunePodSpec),
      ...replaced(value, 'status', prunePodStatus),
    }
  }
  if (kind === 'NetworkPolicy')
    return { ...pruned, ...replaced(value, 'spec', (spec) => pick(spec, ['podSelector'])) }
  if (kind === 'Node')
    return { ...pruned, ...replaced(value, 'spec', (spec) => pick(spec, NODE_SPEC)), status: {} }
  return pruned
}

function pruneMetadata(metadata: RawMap): RawMap {
  const { managedFields, ...rest } = metadata
  return {
    ...rest,
    ...replaced(metadata, 'annotations', (annotations) => {
      return Object.fromEntries(Object.entries(annotations).filter(([key]) => key !== COPY_ANNOTATION))
    }),
  }
}

function prunePodSpec(spec: RawMap): RawMap {
  const containers = (key: string): RawMap => replacedItems(spec, key, (each) => pick(each, CONTAINER))
  return { ...pick(spec, POD_SPEC), ...containers('containers'), ...containers('initContainers') }
}

function prunePodStatus(status: RawMap): RawMap {
  return {
    ...pick(status, POD_STATUS),
    ...replacedItems(status, 'conditions', (each) => pick(each, CONDITION)),
  }
}

function pick(map: RawMap, keys: readonly string[]): RawMap {
  return Object.fromEntries(keys.filter((key) => Object.hasOwn(map, key)).map((key) => [key, map[key]]))
}

/** The field, made smaller; one of a wrong type stays, so that it is told. */
function replaced(map: RawMap, key: string, shorten: (value: RawMap) => RawMap): RawMap {
  const value = own(map, key)
  if (value === undefined) return {}
  return { [key]: isMap(value) ? shorten(value) : value }
}

function replacedItems(map: RawMap, key: string, shorten: (item: RawMap) => RawMap): RawMap {
  const value = own(map, key)
  if (value === undefined) return {}
  if (!Array.isArray(value)) return { [key]: value }
  return { [key]: value.map((item: unknown) => (isMap(item) ? shorten(item) : item)) }
}
