// SPDX-License-Identifier: Apache-2.0
// Conditions on headers, parameters and paths, compiled from what the controller sends. Regular expressions are RE2's and take
// linear time. Pure.
import { RE2JS } from 're2js'
import type { PathMatch, ValueMatch } from '../../proto/generated/sidestep/v1/routes_pb.js'

/** Asks one value; undefined: it is not there. */
export type ValueTest = (value: string | undefined) => boolean
export type PathTest = (path: string) => boolean

/** True of no value: a condition that cannot be read must not be met. */
const NEVER = (): boolean => false

export function compileValue({ kind }: ValueMatch): ValueTest {
  switch (kind.case) {
    case 'exact':
      return (value) => value === kind.value
    case 'prefix':
      return (value) => value?.startsWith(kind.value) ?? false
    case 'regex': {
      const expression = compileRegex(kind.value)
      return expression === null ? NEVER : (value) => value !== undefined && expression.matches(value)
    }
    case 'present':
      return (value) => (value !== undefined) === kind.value
    default:
      return NEVER
  }
}

/** Null: everything. */
export function compilePath(match: PathMatch | undefined): PathTest | null {
  if (match === undefined) return null
  const { kind, ignoresCase } = match
  const fold = (text: string): string => (ignoresCase ? text.toLowerCase() : text)
  switch (kind.case) {
    case 'exact': {
      const exact = fold(kind.value)
      return (path) => fold(path) === exact
    }
    case 'prefix': {
      // SPEC GATEWAY-API PathPrefix: whole segments; a trailing slash of the prefix says nothing.
      const prefix = fold(segmentPrefix(kind.value))
      return (path) => isUnder(fold(path), prefix)
    }
    case 'characterPrefix': {
      const prefix = fold(kind.value)
      return (path) => fold(path).startsWith(prefix)
    }
    case 'regex': {
      const expression = compileRegex(kind.value, ignoresCase)
      return expression === null ? NEVER : (path) => expression.matches(path)
    }
    case 'grpc':
      return compileGrpc(kind.value)
    default:
      return NEVER
  }
}

/** Without its trailing slash; '' is the root. */
export function segmentPrefix(prefix: string): string {
  return prefix.endsWith('/') ? prefix.slice(0, -1) : prefix
}

/** True for the prefix itself and for what follows it behind a slash. */
export function isUnder(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path.charCodeAt(prefix.length) === 0x2f)
}

function compileGrpc({
  service,
  method,
  isRegex,
}: {
  service: string
  method: string
  isRegex: boolean
}): PathTest {
  const part = (text: string): ((value: string) => boolean) => {
    if (text === '') return () => true
    if (!isRegex) return (value) => value === text
    const expression = compileRegex(text)
    return expression === null ? NEVER : (value) => expression.matches(value)
  }
  const [isService, isMethod] = [part(service), part(method)]
  return (path) => {
    const slash = path.indexOf('/', 1)
    if (slash < 0 || path.indexOf('/', slash + 1) >= 0) return false
    return isService(path.substring(1, slash)) && isMethod(path.substring(slash + 1))
  }
}

/** Null when it is no expression of RE2. The controller has said so to its author. */
function compileRegex(pattern: string, ignoresCase = false): RE2JS | null {
  try {
    return RE2JS.compile(pattern, ignoresCase ? RE2JS.CASE_INSENSITIVE : 0)
  } catch {
    return null
  }
}
