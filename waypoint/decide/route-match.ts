// SPDX-License-Identifier: Apache-2.0
// Which rule is for a request: the first entry that matches, in the order that the controller has settled. Entries are found by
// the path they name, so that a thousand routes cost what one does. Pure.
import type { HttpMatch, HttpRoutes, HttpRule } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestFacts } from './request-facts.ts'
import { compilePath, compileValue, type PathTest, segmentPrefix, type ValueTest } from './value-match.ts'

/** What of a path a prefix match took, and a rewrite of the prefix replaces. */
export interface MatchedPrefix {
  readonly length: number
  /** Of whole segments, without a slash at its end; false: of characters. */
  readonly isOfSegments: boolean
}

/** The rule of a request. */
export interface RouteHit {
  readonly rule: HttpRule
  /** null: it was matched otherwise. */
  readonly prefix: MatchedPrefix | null
}

/** Deeper paths are asked as if they ended here, and those rules that need more of them then do not match. */
const MAX_SEGMENTS = 64
/** Different lengths of prefixes of characters that are looked up: each costs every request a look. */
const MAX_PREFIX_LENGTHS = 16

/** One match of one rule. */
class Entry {
  readonly ordinal: number
  readonly hit: RouteHit
  readonly #path: PathTest | null
  readonly #match: HttpMatch | undefined
  readonly #headers: readonly (readonly [name: string, test: ValueTest, isWanted: boolean])[]
  readonly #query: readonly (readonly [name: string, test: ValueTest])[]
  readonly #labels: readonly (readonly [string, string])[]

  constructor(ordinal: number, rule: HttpRule, match: HttpMatch | undefined) {
    this.ordinal = ordinal
    this.hit = { rule, prefix: prefixOf(match) }
    this.#match = match
    this.#path = compilePath(match?.path)
    this.#headers = [
      ...(match?.headers ?? []).map((each) => [each.name, compileValue(each), true] as const),
      ...(match?.withoutHeaders ?? []).map((each) => [each.name, compileValue(each), false] as const),
    ]
    this.#query = (match?.query ?? []).map((each) => [each.name, compileValue(each)] as const)
    this.#labels = Object.entries(match?.sourceLabels ?? {})
  }

  matches(request: RequestFacts): boolean {
    const match = this.#match
    if (match === undefined) return true
    if (match.method !== '' && match.method !== request.method) return false
    if (this.#path !== null && !this.#path(request.path)) return false
    for (const [name, test, isWanted] of this.#headers)
      if (test(request.header(name)) !== isWanted) return false
    for (const [name, test] of this.#query) if (!test(request.parameter(name))) return false
    if (match.sourceNamespace !== '' && match.sourceNamespace !== request.caller.namespace) return false
    for (const [name, value] of this.#labels) if (request.caller.labels[name] !== value) return false
    return true
  }
}

function prefixOf(match: HttpMatch | undefined): MatchedPrefix | null {
  const kind = match?.path?.kind
  if (kind?.case === 'prefix') return { length: segmentPrefix(kind.value).length, isOfSegments: true }
  return kind?.case === 'characterPrefix' ? { length: kind.value.length, isOfSegments: false } : null
}

/** The routes of one list. */
export class HttpRouteTable {
  readonly #byExactPath = new Map<string, Entry[]>()
  readonly #byPrefix = new Map<string, Entry[]>()
  /** Prefixes of characters, and how long they are, shortest first. */
  readonly #byStart = new Map<string, Entry[]>()
  readonly #startLengths: readonly number[]
  /** What names no path, or not so that it could be looked up. */
  readonly #others: Entry[] = []
  /** Entries asked since the table was made: the cost, for tests. */
  askedCount = 0

  constructor({ rules, entries }: HttpRoutes) {
    const lengths = new Set<number>()
    for (const [ordinal, { match, rule: index }] of entries.entries()) {
      const rule = rules[index]
      if (rule === undefined) continue
      const entry = new Entry(ordinal, rule, match)
      const path = match?.path
      if (path?.kind.case === 'exact' && !path.ignoresCase) append(this.#byExactPath, path.kind.value, entry)
      else if (path?.kind.case === 'prefix' && !path.ignoresCase)
        append(this.#byPrefix, segmentPrefix(path.kind.value), entry)
      else if (path?.kind.case === 'characterPrefix' && !path.ignoresCase) {
        const { value } = path.kind
        if (lengths.size < MAX_PREFIX_LENGTHS) lengths.add(value.length)
        if (lengths.has(value.length)) append(this.#byStart, value, entry)
        else this.#others.push(entry)
      } else this.#others.push(entry)
    }
    this.#startLengths = [...lengths].sort((a, b) => a - b)
  }

  /** The rule, or null when nothing matches. */
  find(request: RequestFacts): RouteHit | null {
    const { path } = request
    let best = this.#first(this.#byExactPath.get(path), request, null)
    best = this.#first(this.#others, request, best)
    for (const length of this.#startLengths) {
      if (length > path.length) break
      best = this.#first(this.#byStart.get(path.substring(0, length)), request, best)
    }
    if (this.#byPrefix.size > 0) {
      best = this.#first(this.#byPrefix.get(''), request, best)
      let end = 0
      for (let count = 0; count < MAX_SEGMENTS && end < path.length; count++) {
        const next = path.indexOf('/', end + 1)
        end = next < 0 ? path.length : next
        best = this.#first(this.#byPrefix.get(path.substring(0, end)), request, best)
      }
    }
    return best?.hit ?? null
  }

  /** Lists are in order: stop at the first that matches, and at what could not come before `best`. */
  #first(entries: readonly Entry[] | undefined, request: RequestFacts, best: Entry | null): Entry | null {
    if (entries === undefined) return best
    for (const entry of entries) {
      if (best !== null && entry.ordinal > best.ordinal) return best
      this.askedCount++
      if (entry.matches(request)) return entry
    }
    return best
  }
}

function append(map: Map<string, Entry[]>, key: string, entry: Entry): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [entry])
  else list.push(entry)
}
