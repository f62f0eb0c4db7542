// SPDX-License-Identifier: Apache-2.0
// Reads typed values out of YAML and notes every mistake with its place, so that all are reported together.
// A wrong value is replaced by its default and the reading goes on; the caller throws the result away when
// there are findings. Bounded: size, depth, aliases, nodes, findings. Pure: text in, values out.
import {
  type CollectionTag,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  Scalar,
  type ScalarTag,
  type TagId,
  visit,
} from 'yaml'
import { type Finding, nearest } from './finding.ts'

const MAX_TEXT_LENGTH = 16 * 1024 * 1024 // about 50,000 workloads: far beyond what one keeps in a file
const MAX_NODES = 2_000_000 // values read, repeated ones through aliases included ("billion laughs")
const MAX_FINDINGS = 100 // more help nobody

const PLAIN_KEY = /^[\w./:-]{1,80}$/ // what a path shows unquoted; the rest is shortened and escaped

type Tags = readonly (ScalarTag | CollectionTag)[]

/** A map whose keys were checked. Absent and null values are unset. */
export class Fields {
  readonly node: Node
  readonly path: string
  readonly #values: ReadonlyMap<string, Node>

  constructor(node: Node, path: string, values: ReadonlyMap<string, Node>) {
    this.node = node
    this.path = path
    this.#values = values
  }

  /** The value of a field, or undefined when it is unset. */
  get(key: string): Node | undefined {
    return this.#values.get(key)
  }

  /** The path of a field. */
  pathOf(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`
  }
}

/** Reads one document. Every `read…` notes a finding and returns the default when the value is wrong. */
export class YamlReader {
  readonly findings: Finding[] = []
  readonly #file: string
  readonly #lines = new LineCounter()
  readonly #document: Document.Parsed | undefined
  #anchors: Map<string, Node> | undefined
  #nodeCount = 0

  constructor(text: string, file: string, tags: Tags) {
    this.#file = file
    if (text.length > MAX_TEXT_LENGTH)
      this.#note(0, '', `the file has more than ${MAX_TEXT_LENGTH} characters`)
    else this.#document = this.#parse(text, tags)
  }

  /** The document's top, or undefined when it is empty or broken. */
  get root(): Node | undefined {
    const contents = this.findings.length > 0 ? null : this.#document?.contents
    return isNode(contents) && !isNull(contents) ? contents : undefined
  }

  /** Notes a mistake at a value. */
  fail(node: Node, path: string, message: string, suggestion = ''): void {
    this.#note(node.range?.[0] ?? 0, path, message, suggestion)
  }

  /**
   * A map with known keys. Unknown, repeated and missing ones are findings; so are keys without a value where that
   * must not pass for "unset" (`needsValues`).
   */
  fields(
    raw: Node,
    path: string,
    known: readonly string[],
    required: readonly string[],
    needsValues = false,
  ): Fields | undefined {
    const entries = this.entries(raw, path)
    if (entries === undefined) return undefined
    const values = new Map<string, Node>()
    for (const { key, keyNode, value, path: at } of entries) {
      if (!known.includes(key)) this.fail(keyNode, at, 'unknown field', nearest(key, known))
      else if (!isNull(value)) values.set(key, value)
      else if (needsValues) this.fail(keyNode, at, 'expected a value, found nothing')
    }
    const fields = new Fields(raw, path, values)
    for (const key of required) {
      if (!values.has(key)) this.fail(raw, fields.pathOf(key), 'required field is missing')
    }
    return fields
  }

  /** The entries of a map; keys are text. Repeated keys are findings. */
  entries(raw: Node, path: string): { key: string; keyNode: Node; value: Node; path: string }[] | undefined {
    const node = this.#resolve(raw, path)
    if (node === undefined) return undefined
    if (!isMap(node) || hasForeignTag(node)) {
      this.fail(raw, path, `expected a map, found ${describe(node)}`)
      return undefined
    }
    const seen = new Set<string>()
    const entries: { key: string; keyNode: Node; value: Node; path: string }[] = []
    for (const { key: keyNode, value } of node.items) {
      if (!isScalar(keyNode) || isNull(keyNode)) {
        this.fail(isNode(keyNode) ? keyNode : node, path, 'expected a plain key')
        continue
      }
      const key =
        typeof keyNode.value === 'string' ? keyNode.value : (keyNode.source ?? String(keyNode.value))
      const name = PLAIN_KEY.test(key) ? key : quote(key)
      const at = path === '' ? name : `${path}.${name}`
      if (seen.has(key)) this.fail(keyNode, at, 'the key stands twice in this map')
      else entries.push({ key, keyNode, value: isNode(value) ? value : nothingAt(keyNode), path: at })
      seen.add(key)
    }
    return entries
  }

  /** The items of a list, read one by one; what `read` returns undefined for is left out. */
  list<T>(fields: Fields, key: string, read: (node: Node, path: string) => T | undefined): T[] {
    const raw = fields.get(key)
    return raw === undefined ? [] : this.items(raw, fields.pathOf(key), read)
  }

  items<T>(raw: Node, path: string, read: (node: Node, path: string) => T | undefined): T[] {
    const node = this.#resolve(raw, path)
    const values: T[] = []
    if (node === undefined) return values
    if (!isSeq(node) || hasForeignTag(node)) {
      this.fail(raw, path, `expected a list, found ${describe(node)}`)
      return values
    }
    for (const [index, item] of node.items.entries()) {
      const value = isNode(item) ? read(item, `${path}[${index}]`) : undefined
      if (value !== undefined) values.push(value)
    }
    return values
  }

  text(fields: Fields, key: string, fallback = ''): string {
    const node = fields.get(key)
    return node === undefined ? fallback : (this.readText(node, fields.pathOf(key)) ?? fallback)
  }

  readText(raw: Node, path: string): string | undefined {
    const node = this.#resolve(raw, path)
    if (isScalar(node) && typeof node.value === 'string' && !hasForeignTag(node)) return node.value
    if (node !== undefined) this.fail(raw, path, `expected text, found ${describe(node)}`)
    return undefined
  }

  integer(fields: Fields, key: string, min: number, max: number, fallback: number): number {
    const node = fields.get(key)
    return node === undefined ? fallback : (this.readInteger(node, fields.pathOf(key), min, max) ?? fallback)
  }

  readInteger(raw: Node, path: string, min: number, max: number): number | undefined {
    const node = this.#resolve(raw, path)
    if (node === undefined) return undefined
    const value = isScalar(node) && !hasForeignTag(node) ? node.value : undefined
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    const found = typeof value === 'number' ? String(value) : describe(node)
    this.fail(raw, path, `expected a whole number from ${min} to ${max}, found ${found}`)
    return undefined
  }

  flag(fields: Fields, key: string, fallback = false): boolean {
    const raw = fields.get(key)
    if (raw === undefined) return fallback
    const node = this.#resolve(raw, fields.pathOf(key))
    if (isScalar(node) && typeof node.value === 'boolean' && !hasForeignTag(node)) return node.value
    if (node !== undefined) {
      this.fail(raw, fields.pathOf(key), `expected true or false, found ${describe(node)}`)
    }
    return fallback
  }

  oneOf<T extends string>(fields: Fields, key: string, values: readonly T[], fallback: T): T {
    const node = fields.get(key)
    return node === undefined ? fallback : (this.readOneOf(node, fields.pathOf(key), values) ?? fallback)
  }

  readOneOf<T extends string>(node: Node, path: string, values: readonly T[]): T | undefined {
    const text = this.readText(node, path)
    if (text === undefined) return undefined
    const found = values.find((value) => value === text)
    if (found === undefined) {
      this.fail(
        node,
        path,
        `expected one of ${values.join(', ')}, found ${quote(text)}`,
        nearest(text, values),
      )
    }
    return found
  }

  /** A value with one of our tags, as `{tag, node}`. */
  tagged(raw: Node, path: string): { tag: string; node: Node } | undefined {
    const node = this.#resolve(raw, path)
    return node === undefined ? undefined : { tag: node.tag ?? '', node }
  }

  #parse(text: string, tags: Tags): Document.Parsed | undefined {
    try {
      const customTags = (base: (TagId | ScalarTag | CollectionTag)[]) => [...base, ...tags]
      // Repeated keys are found by this reader: the library's own search is quadratic.
      const options = {
        lineCounter: this.#lines,
        customTags,
        prettyErrors: false,
        uniqueKeys: false,
      } as const
      const document = parseDocument(text, options)
      for (const { pos, message } of [...document.errors, ...document.warnings])
        this.#note(pos[0], '', message)
      return document
    } catch (error) {
      // Nesting of thousands of levels overflows the parser's stack.
      this.#note(0, '', `unreadable YAML: ${error instanceof Error ? error.message : String(error)}`)
      return undefined
    }
  }

  #resolve(node: Node, path: string): Node | undefined {
    if (++this.#nodeCount > MAX_NODES) {
      if (this.#nodeCount === MAX_NODES + 1) this.fail(node, path, `more than ${MAX_NODES} values`)
      return undefined
    }
    if (!isAlias(node)) return node
    this.#anchors ??= this.#collectAnchors()
    const target = this.#anchors.get(node.source)
    if (target === undefined || isAlias(target)) {
      this.fail(node, path, `no anchor &${node.source}`)
      return undefined
    }
    return target
  }

  #collectAnchors(): Map<string, Node> {
    const anchors = new Map<string, Node>()
    visit(this.#document ?? null, {
      Value: (_, node) => {
        if (node.anchor === undefined) return
        // A name given twice would mean one thing to us and another to a reader who goes from top to bottom.
        if (anchors.has(node.anchor)) this.fail(node, '', `the anchor &${node.anchor} stands twice`)
        anchors.set(node.anchor, node)
      },
    })
    return anchors
  }

  #note(offset: number, path: string, message: string, suggestion = ''): void {
    if (this.findings.length >= MAX_FINDINGS) return
    const { line, col } = this.#lines.linePos(offset)
    const at = { file: this.#file, line: Math.max(1, line), column: Math.max(1, col) }
    this.findings.push({ ...at, path, message, suggestion })
  }
}

/** Short and escaped: the text is somebody's input. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}

function isNull(node: unknown): boolean {
  return isScalar(node) && node.value === null
}

// `{key}` has no value at all: it is read as `{key: ~}`, and found where the key is.
function nothingAt(keyNode: Node): Scalar {
  const nothing = new Scalar(null)
  if (keyNode.range) nothing.range = keyNode.range
  return nothing
}

function hasForeignTag(node: Node): boolean {
  return node.tag !== undefined && !node.tag.startsWith('tag:yaml.org,2002:')
}

function describe(node: Node): string {
  if (hasForeignTag(node)) return `a value with tag ${quote(node.tag ?? '')}`
  if (isMap(node)) return 'a map'
  if (isSeq(node)) return 'a list'
  if (!isScalar(node) || node.value === null) return 'nothing'
  return typeof node.value === 'string'
    ? `text ${quote(node.value)}`
    : `the ${typeof node.value} ${node.value}`
}
