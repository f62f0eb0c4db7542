// SPDX-License-Identifier: Apache-2.0
// What the files of a directory come to: which objects count, which are held at their last good version, and what is to
// be said. Pure.
import { isDeepStrictEqual } from 'node:util'
import { admitObject } from './admit-object.ts'
import { type ConfigObject, type ObjectOrigin, refKey, refOf } from './config-object.ts'
import type { SourceMistake } from './source-mistake.ts'
import { formatPath } from './value-mistakes.ts'
import { readDocuments } from './yaml-documents.ts'

/** Mistakes told of one directory. */
export const MAX_TOLD_MISTAKES = 1_000 // more help nobody

/** What is known of one file. */
export interface FileState {
  /** Good now, in the order of the file. */
  readonly good: readonly ConfigObject[]
  /** Broken now: their last good version, or what closes in its place. */
  readonly held: readonly ConfigObject[]
  readonly mistakes: readonly SourceMistake[]
  /** False: there is something in it of which nobody knows what it is, and no earlier version said it. */
  readonly isWhole: boolean
}

export const NO_FILE: FileState = { good: [], held: [], mistakes: [], isWhole: true }

/** Reads a file's text; what broke since `before` keeps its last good version. */
export function readFileState(text: string, file: string, before: FileState): FileState {
  const { values, mistakes: unread, isPartial } = readDocuments(text, file)
  const known = new Map([...before.held, ...before.good].map((each) => [refKey(refOf(each)), each]))
  const mistakes = [...unread]
  const good: ConfigObject[] = []
  const broken = new Map<string, ConfigObject | null>()
  let hasNameless = isPartial
  for (const { value, origin, locate } of values) {
    const admission = admitObject(value, origin)
    for (const { path, ...rest } of admission.mistakes) {
      // Finding the place costs a walk, so that nobody gets ten thousand of them.
      const where = mistakes.length < MAX_TOLD_MISTAKES ? locate(path) : origin
      mistakes.push({ ...rest, origin: where, path: formatPath(path) })
    }
    if (admission.verdict === 'good') good.push(sameAs(known, admission.object))
    else if (admission.verdict === 'broken') {
      if (admission.ref === null) hasNameless = true
      else broken.set(refKey(admission.ref), admission.closing)
    }
  }
  const now = new Set(good.map((each) => refKey(refOf(each))))
  // Something without a name may have been any of the objects that are not to be found now.
  const held = [...known].filter(([key]) => !now.has(key) && (hasNameless || broken.has(key)))
  const closing = [...broken].flatMap(([key, each]) =>
    each === null || known.has(key) || now.has(key) ? [] : [each],
  )
  // What was read before is held; of a file that was never read nothing is.
  const isWhole = !hasNameless || (before !== NO_FILE && before.isWhole)
  return { good, held: [...held.map(([, each]) => each), ...closing], mistakes, isWhole }
}

/** A file that cannot be read: all that was known of it is held. */
export function holdFileState(before: FileState, mistake: SourceMistake): FileState {
  const isWhole = before !== NO_FILE && before.isWhole
  return { good: [], held: [...before.good, ...before.held], mistakes: [mistake], isWhole }
}

/** An object that did not change stays the object it was, with everything that was made of it. */
function sameAs(known: ReadonlyMap<string, ConfigObject>, object: ConfigObject): ConfigObject {
  const before = known.get(refKey(refOf(object)))
  return before !== undefined && isDeepStrictEqual(before, object) ? before : object
}

/** All files together. */
export interface DirectoryObjects {
  /** By refKey(). */
  readonly objects: ReadonlyMap<string, ConfigObject>
  readonly mistakes: readonly SourceMistake[]
}

/**
 * Joins the files, which come in the order of their paths. Of two objects of one name the first counts. A namespace that
 * an object names and no file describes exists without labels, so that a directory need not spell out what a cluster
 * creates by a command.
 */
export function joinFiles(
  files: Iterable<FileState>,
  before: ReadonlyMap<string, ConfigObject>,
): DirectoryObjects {
  const all = [...files]
  const objects = new Map<string, ConfigObject>()
  const mistakes: SourceMistake[] = all.flatMap((file) => file.mistakes)
  for (const object of all.flatMap(({ good }) => good)) {
    const key = refKey(refOf(object))
    const first = objects.get(key)
    if (first === undefined) objects.set(key, object)
    else mistakes.push(repeated(object, first))
  }
  for (const object of all.flatMap(({ held }) => held)) {
    const key = refKey(refOf(object))
    if (!objects.has(key)) objects.set(key, object)
  }
  for (const name of new Set([...objects.values()].map(({ metadata }) => metadata.namespace))) {
    const namespace = bareNamespace(name)
    const key = refKey(refOf(namespace))
    if (name !== '' && !objects.has(key)) objects.set(key, sameAs(before, namespace))
  }
  return { objects, mistakes: shorten(mistakes) }
}

function repeated({ kind, metadata, origin }: ConfigObject, first: ConfigObject): SourceMistake {
  const { name, namespace } = metadata
  const label = namespace === '' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`
  const message = `${label} stands twice; the one at ${placeText(first.origin)} counts`
  return { severity: 'error', origin, path: 'metadata.name', message, suggestion: '' }
}

function placeText(origin: ObjectOrigin | null): string {
  return origin === null ? 'another place' : `${origin.file}:${origin.line}:${origin.column}`
}

function shorten(mistakes: readonly SourceMistake[]): readonly SourceMistake[] {
  if (mistakes.length <= MAX_TOLD_MISTAKES) return mistakes
  const order = { error: 0, warning: 1, info: 2 }
  const told = mistakes.toSorted((left, right) => order[left.severity] - order[right.severity])
  const message = `${mistakes.length - MAX_TOLD_MISTAKES} more mistakes are not listed`
  const more: SourceMistake = { severity: 'error', origin: null, path: '', message, suggestion: '' }
  return [...told.slice(0, MAX_TOLD_MISTAKES), more]
}

function bareNamespace(name: string): ConfigObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      ...{ name, namespace: '', uid: '', labels: {}, annotations: {}, generation: 0, resourceVersion: '' },
      ...{ createdMs: Number.NaN, isDeleting: false, ownerReferences: [] },
    },
    spec: {},
    status: {},
    rest: {},
    origin: null,
  }
}
