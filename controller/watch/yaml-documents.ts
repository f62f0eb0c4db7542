// SPDX-License-Identifier: Apache-2.0
// The text of a YAML or JSON file → the values in it, each with its place, and what cannot be read. Pure, bounded, never
// throws. Several documents in one file and `List` kinds are unpacked.
import {
  type Document,
  isAlias,
  isNode,
  isScalar,
  isSeq,
  isMap as isYamlMap,
  LineCounter,
  type Node,
  parseAllDocuments,
  visit,
} from 'yaml'
import type { ObjectOrigin } from './config-object.ts'
import type { SourceMistake } from './source-mistake.ts'
import { formatPath, isMap, own, quote, type ValuePath } from './value-mistakes.ts'

/** Characters in one file: several thousand objects. */
export const MAX_FILE_BYTES = 8 * 1024 * 1024
const MAX_ALIASES = 1_000 // uses of anchors in one document ("billion laughs")
const MAX_FILE_OBJECTS = 20_000 // objects in one file

/** A value of a file. */
export interface FileValue {
  readonly value: unknown
  readonly origin: ObjectOrigin
  /** Where a part of the value stands; for what is not there, where it should be. */
  locate(path: ValuePath): ObjectOrigin
}

/** What is in a file. */
export interface FileValues {
  readonly values: readonly FileValue[]
  readonly mistakes: readonly SourceMistake[]
  /** True when something stands there that nobody can say the name of. */
  readonly isPartial: boolean
}

interface Data {
  readonly data: unknown
}

interface Fault {
  readonly offset: number
  readonly message: string
}

/** Reads the text of a file. */
export function readDocuments(text: string, file: string): FileValues {
  const lines = new LineCounter()
  const at = (offset: number): ObjectOrigin => {
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(1, line), column: Math.max(1, col) }
  }
  const mistakes: SourceMistake[] = []
  const refuse = (offset: number, path: ValuePath, message: string): void => {
    const origin = at(offset)
    mistakes.push({ severity: 'error', origin, path: formatPath(path), message, suggestion: '' })
  }
  if (text.length > MAX_FILE_BYTES) {
    refuse(0, [], `the file has more than ${MAX_FILE_BYTES} characters`)
    return { values: [], mistakes, isPartial: true }
  }
  const documents = parse(text, lines)
  if (typeof documents === 'string') {
    refuse(0, [], documents)
    return { values: [], mistakes, isPartial: true }
  }
  const values: FileValue[] = []
  for (const document of documents) {
    const { contents } = document
    const read = readDocument(document)
    if ('message' in read) refuse(read.offset, [], read.message)
    // An empty document is none: a file may end in `---`.
    else if (read.data !== null) values.push(...unpack(document, read.data, at, refuse))
    if (values.length > MAX_FILE_OBJECTS) {
      refuse(contents?.range[0] ?? 0, [], `the file has more than ${MAX_FILE_OBJECTS} objects`)
      break
    }
  }
  return { values: values.slice(0, MAX_FILE_OBJECTS), mistakes, isPartial: mistakes.length > 0 }
}

function parse(text: string, lineCounter: LineCounter): Document.Parsed[] | string {
  try {
    // Repeated keys are found below: the library's own search is quadratic.
    const options = { lineCounter, prettyErrors: false, uniqueKeys: false, logLevel: 'silent' } as const
    return [...parseAllDocuments(text, options)]
  } catch (error) {
    // Nesting of thousands of levels overflows the parser's stack.
    return `unreadable YAML: ${error instanceof Error ? error.message : String(error)}`
  }
}

/** A document's data, or the first thing for which it is not read at all. */
function readDocument(document: Document.Parsed): Data | Fault {
  const [error] = [...document.errors, ...document.warnings]
  if (error !== undefined) return { offset: error.pos[0], message: error.message }
  try {
    return refuseKeys(document) ?? { data: document.toJS({ maxAliasCount: MAX_ALIASES }) }
  } catch (cause) {
    // Too many aliases, or levels for the stack.
    const message = `unreadable YAML: ${cause instanceof Error ? cause.message : String(cause)}`
    return { offset: document.contents?.range[0] ?? 0, message }
  }
}

/** The first key that could mean two things. */
function refuseKeys(document: Document.Parsed): Fault | undefined {
  let fault: Fault | undefined
  visit(document, {
    Map: (_, map) => {
      const seen = new Set<string>()
      for (const { key } of map.items) {
        const name = isScalar(key) && typeof key.value !== 'object' ? String(key.value) : undefined
        const message = refuseKey(name, seen)
        if (message !== undefined) {
          fault = { offset: (isNode(key) ? key : map).range?.[0] ?? 0, message }
          return visit.BREAK
        }
        seen.add(name ?? '')
      }
      return undefined
    },
  })
  return fault
}

function refuseKey(name: string | undefined, seen: ReadonlySet<string>): string | undefined {
  if (name === undefined) return 'expected a plain key'
  if (name === '<<') return 'merge keys are not read: write the fields out'
  return seen.has(name) ? `the key ${quote(name)} stands twice in this map` : undefined
}

/** One value, or the items of a list of objects. */
function unpack(
  document: Document.Parsed,
  data: unknown,
  at: (offset: number) => ObjectOrigin,
  refuse: (offset: number, path: ValuePath, message: string) => void,
): FileValue[] {
  const placeOf = (path: ValuePath): ObjectOrigin => at(offsetOf(document, path))
  const entry = (value: unknown, base: ValuePath): FileValue => {
    return { value, origin: placeOf(base), locate: (path) => placeOf([...base, ...path]) }
  }
  const kind = isMap(data) ? own(data, 'kind') : undefined
  if (!isMap(data) || typeof kind !== 'string' || !kind.endsWith('List')) return [entry(data, [])]
  const items = own(data, 'items') ?? []
  if (Array.isArray(items)) return items.map((item: unknown, index) => entry(item, ['items', index]))
  refuse(offsetOf(document, ['items']), ['items'], 'expected a list')
  return []
}

/** Where a part stands in the text: the key of a field, or the deepest part there is. */
function offsetOf(document: Document.Parsed, path: ValuePath): number {
  let node: Node | null = document.contents
  let offset = node?.range?.[0] ?? 0
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document) ?? null
    const child: Child | undefined = childOf(node, part)
    if (child === undefined) return offset
    offset = child.offset ?? offset
    node = child.node
  }
  return offset
}

interface Child {
  readonly node: Node | null
  readonly offset: number | undefined
}

function childOf(node: Node | null, part: string | number): Child | undefined {
  if (isSeq(node)) {
    const item = typeof part === 'number' ? node.items[part] : undefined
    return isNode(item) ? { node: item, offset: item.range?.[0] } : undefined
  }
  if (!isYamlMap(node)) return undefined
  const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part))
  if (pair === undefined || !isNode(pair.key)) return undefined
  return { node: isNode(pair.value) ? pair.value : null, offset: pair.key.range?.[0] }
}
