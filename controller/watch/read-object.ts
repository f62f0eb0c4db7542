// SPDX-License-Identifier: Apache-2.0
// An untyped value → an object with checked metadata, or what is wrong with it. Input is hostile: pure, bounded, never
// throws. What stands inside of spec and status is looked at by schema/ and by whoever knows the kind.
import {
  type ConfigObject,
  groupOf,
  type ObjectMeta,
  type ObjectOrigin,
  type OwnerReference,
} from './config-object.ts'
import { findKind } from './kinds.ts'
import { describe, isMap, own, type RawMap, ValueMistakes, type ValuePath } from './value-mistakes.ts'
import { refuseSize } from './value-size.ts'

const MAX_NAME_LENGTH = 253 // SPEC KUBERNETES names: a DNS subdomain
const MAX_NAMESPACE_LENGTH = 63 // SPEC KUBERNETES namespaces: a DNS label
const MAX_LABEL_KEY_LENGTH = 317 // a prefix of 253, a slash, a name of 63
const MAX_ANNOTATIONS_LENGTH = 256 * 1024 // what an apiserver accepts on one object

/** Namespace of an object that names none, as for kubectl. */
export const DEFAULT_NAMESPACE = 'default'

const API_VERSION = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\/)?v[a-z0-9]{1,40}$/
const KIND = /^[A-Z][A-Za-z0-9]{0,62}$/
const NAME = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/
const NAMESPACE = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/
const LABEL_KEY = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?$/
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?$/
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/

/** An object as it was read. `object` is null when there were errors; `partial` then is what could be made of it. */
export interface ReadObject {
  readonly object: ConfigObject | null
  /** The object without what is wrong in it; null when not even its kind and name can be read. */
  readonly partial: ConfigObject | null
  readonly mistakes: ValueMistakes
}

/** Reads one object. Unknown fields of metadata are no mistake: other programs write there. */
export function readObject(value: unknown, origin: ObjectOrigin | null): ReadObject {
  const mistakes = new ValueMistakes()
  const unread = { object: null, partial: null, mistakes }
  const tooMuch = refuseSize(value)
  if (tooMuch !== undefined) {
    mistakes.add('error', tooMuch.path, tooMuch.message)
    return unread
  }
  if (!isMap(value)) {
    mistakes.wrong([], 'an object with apiVersion, kind and metadata', value)
    return unread
  }
  const apiVersion = readName(value, 'apiVersion', [], API_VERSION, 300, mistakes)
  const kind = readName(value, 'kind', [], KIND, 63, mistakes)
  const metadata = readMetadata(value, groupOf(apiVersion), kind, mistakes)
  const spec = readMap(value, 'spec', mistakes)
  const status = readMap(value, 'status', mistakes)
  if (apiVersion === '' || kind === '' || metadata === undefined) return unread
  const known = new Set(['apiVersion', 'kind', 'metadata', 'spec', 'status'])
  const rest = Object.fromEntries(Object.entries(value).filter(([key]) => !known.has(key)))
  const partial: ConfigObject = { apiVersion, kind, metadata, spec, status, rest, origin }
  return { object: mistakes.hasErrors ? null : partial, partial, mistakes }
}

/** Metadata, or undefined when not even the name is there. */
function readMetadata(
  object: RawMap,
  group: string,
  kind: string,
  mistakes: ValueMistakes,
): ObjectMeta | undefined {
  const raw = own(object, 'metadata')
  if (!isMap(raw)) {
    mistakes.wrong(['metadata'], 'a map', raw)
    return undefined
  }
  const at: ValuePath = ['metadata']
  const name = readName(raw, 'name', at, NAME, MAX_NAME_LENGTH, mistakes)
  const isNamespaced = findKind(group, kind)?.isNamespaced ?? true
  const hasNamespace = own(raw, 'namespace') !== undefined
  const written = hasNamespace
    ? readName(raw, 'namespace', at, NAMESPACE, MAX_NAMESPACE_LENGTH, mistakes)
    : DEFAULT_NAMESPACE
  if (name === '' || written === '') return undefined
  const deletion = readTime(raw, 'deletionTimestamp', mistakes)
  return {
    name,
    namespace: isNamespaced ? written : '',
    uid: readText(raw, 'uid', at, mistakes),
    labels: readTextMap(raw, 'labels', mistakes),
    annotations: readTextMap(raw, 'annotations', mistakes),
    generation: readGeneration(raw, mistakes),
    resourceVersion: readText(raw, 'resourceVersion', at, mistakes),
    createdMs: readTime(raw, 'creationTimestamp', mistakes),
    isDeleting: !Number.isNaN(deletion),
    ownerReferences: readOwners(raw, mistakes),
  }
}

/** A text that must be there and fit; '' after a mistake. */
function readName(
  map: RawMap,
  key: string,
  at: ValuePath,
  grammar: RegExp,
  maxLength: number,
  mistakes: ValueMistakes,
): string {
  const value = own(map, key)
  if (value === undefined) {
    mistakes.add('error', [...at, key], 'required field is missing')
    return ''
  }
  if (typeof value === 'string' && value.length <= maxLength && grammar.test(value)) return value
  const expected = grammar === NAME || grammar === NAMESPACE ? 'a name of a-z, 0-9 and -' : `a valid ${key}`
  mistakes.wrong([...at, key], expected, value)
  return ''
}

function readText(map: RawMap, key: string, at: ValuePath, mistakes: ValueMistakes): string {
  const value = own(map, key)
  if (typeof value === 'string' && value.length <= MAX_NAME_LENGTH) return value
  if (value !== undefined) mistakes.wrong([...at, key], 'a short text', value)
  return ''
}

function readMap(map: RawMap, key: string, mistakes: ValueMistakes): RawMap {
  const value = own(map, key)
  if (isMap(value)) return value
  if (value !== undefined) mistakes.wrong([key], 'a map', value)
  return {}
}

function readGeneration(meta: RawMap, mistakes: ValueMistakes): number {
  const value = own(meta, 'generation')
  if (value === undefined) return 0
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  mistakes.wrong(['metadata', 'generation'], 'a whole number', value)
  return 0
}

/** Epoch milliseconds; NaN when it is not there. */
function readTime(meta: RawMap, key: string, mistakes: ValueMistakes): number {
  const value = own(meta, key)
  if (value === undefined) return Number.NaN
  const timeMs = typeof value === 'string' && TIMESTAMP.test(value) ? Date.parse(value) : Number.NaN
  if (Number.isNaN(timeMs)) mistakes.wrong(['metadata', key], 'a time like 2026-01-31T12:00:00Z', value)
  return timeMs
}

function readTextMap(
  meta: RawMap,
  key: 'labels' | 'annotations',
  mistakes: ValueMistakes,
): Readonly<Record<string, string>> {
  const value = own(meta, key)
  if (value === undefined) return {}
  if (!isMap(value)) {
    mistakes.wrong(['metadata', key], 'a map', value)
    return {}
  }
  let length = 0
  const entries: [string, string][] = []
  for (const [name, text] of Object.entries(value)) {
    const path = ['metadata', key, name]
    length += name.length + (typeof text === 'string' ? text.length : 0)
    if (name.length > MAX_LABEL_KEY_LENGTH || !LABEL_KEY.test(name)) {
      mistakes.add('error', path, 'this is no valid key')
    } else if (typeof text !== 'string') {
      mistakes.add('error', path, `expected text, found ${describe(text)}`, quoted(text))
    } else if (key === 'labels' && (text.length > 63 || !LABEL_VALUE.test(text))) {
      mistakes.wrong(path, 'at most 63 of A-Z, a-z, 0-9, _, . and -', text)
    } else entries.push([name, text])
  }
  if (length > MAX_ANNOTATIONS_LENGTH) {
    mistakes.add('error', ['metadata', key], `more than ${MAX_ANNOTATIONS_LENGTH} characters`)
    return {}
  }
  return Object.fromEntries(entries)
}

/** `"1"` for 1, `"true"` for true: what YAML needs to hear a text. */
function quoted(value: unknown): string {
  return typeof value === 'number' || typeof value === 'boolean' ? JSON.stringify(String(value)) : ''
}

function readOwners(meta: RawMap, mistakes: ValueMistakes): readonly OwnerReference[] {
  const value = own(meta, 'ownerReferences')
  if (value === undefined) return []
  if (!Array.isArray(value)) {
    mistakes.wrong(['metadata', 'ownerReferences'], 'a list', value)
    return []
  }
  return value.flatMap((owner: unknown, index): OwnerReference[] => {
    const at = ['metadata', 'ownerReferences', index]
    if (!isMap(owner)) {
      mistakes.wrong(at, 'a map', owner)
      return []
    }
    return [
      {
        apiVersion: readText(owner, 'apiVersion', at, mistakes),
        kind: readText(owner, 'kind', at, mistakes),
        name: readText(owner, 'name', at, mistakes),
        uid: readText(owner, 'uid', at, mistakes),
      },
    ]
  })
}
