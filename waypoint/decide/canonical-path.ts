// SPDX-License-Identifier: Apache-2.0
// One spelling for each path, made once: routes and policies see the same, and so does the service. As Istio's default (BASE):
// dot segments are resolved, `\` is `/`, what needs no escape is unescaped, escapes are upper case; slashes are neither merged
// nor unescaped. What has no one spelling is refused. SPEC RFC3986 §6.2.2. Pure; linear.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'

/** A path and what follows its `?`, which is not touched. */
export interface CanonicalTarget {
  readonly kind: 'target'
  /** Begins with `/`. */
  readonly path: string
  /** With its `?`; ''. */
  readonly query: string
}

/** True for what has to be looked at closely: a dot segment, an escape, a backslash. */
const IS_UNUSUAL = /[%\\]|\/\.{1,2}(?:\/|$)/
const UNRESERVED = /^[A-Za-z0-9\-._~]$/

/** `target`: the `:path` of a request, in origin form. */
export function canonicalTarget(target: string): CanonicalTarget | Refusal {
  const at = target.indexOf('?')
  const path = at < 0 ? target : target.substring(0, at)
  const query = at < 0 ? '' : target.substring(at)
  if (path.charCodeAt(0) !== 0x2f) return refuse('PATH_AMBIGUOUS', 'it does not begin with /')
  if (path.includes('#')) return refuse('PATH_AMBIGUOUS', '#')
  if (!IS_UNUSUAL.test(path)) return { kind: 'target', path, query }
  const unescaped = unescapeUnreserved(path.replaceAll('\\', '/'))
  if (unescaped === null) return refuse('PATH_AMBIGUOUS', 'an escape that is none')
  return { kind: 'target', path: withoutDots(unescaped), query }
}

/** Null when `%` is followed by something else than two digits, or by those of NUL. */
function unescapeUnreserved(path: string): string | null {
  if (!path.includes('%')) return path
  let isBroken = false
  const result = path.replace(/%(.{0,2})/gs, (_all, digits: string) => {
    if (!/^[0-9A-Fa-f]{2}$/.test(digits) || digits === '00') isBroken = true
    const char = String.fromCharCode(Number.parseInt(digits, 16))
    return UNRESERVED.test(char) ? char : `%${digits.toUpperCase()}`
  })
  return isBroken ? null : result
}

/** SPEC RFC3986 §5.2.4: what goes above the root stays there. */
function withoutDots(path: string): string {
  const kept: string[] = []
  const segments = path.split('/').slice(1)
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1
    if (segment === '..') kept.pop()
    else if (segment !== '.') kept.push(segment)
    if (isLast && (segment === '.' || segment === '..')) kept.push('')
  }
  return `/${kept.join('/')}`
}
