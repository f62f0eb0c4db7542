// SPDX-License-Identifier: Apache-2.0
// The path of a redirect or a rewrite. SPEC GATEWAY-API HTTPPathModifier. Pure.
import { RE2JS } from 're2js'
import type { PathModifier } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { MatchedPrefix } from '../decide/route-match.ts'

/** Makes of the path of a request, and of what its route matched of it, another one that begins with `/`. */
export type ModifyPath = (path: string, prefix: MatchedPrefix | null) => string

/** null: the path stays. */
export function compilePathModifier(modifier: Pick<PathModifier, 'kind'> | undefined): ModifyPath | null {
  const kind = modifier?.kind
  switch (kind?.case) {
    case 'full':
      return () => rooted(kind.value)
    case 'prefix':
      return (path, prefix) => replacePrefix(path, prefix, kind.value)
    case 'regex':
      return compileRegex(kind.value.pattern, kind.value.replacement)
    default:
      return null
  }
}

function replacePrefix(path: string, prefix: MatchedPrefix | null, replacement: string): string {
  if (prefix === null) return path // nothing was matched that could be replaced; the controller has said so
  const rest = path.substring(prefix.length)
  if (!prefix.isOfSegments) return rooted(replacement + rest)
  const kept = replacement.endsWith('/') ? replacement.slice(0, -1) : replacement
  return rooted(kept + rest)
}

/** All matches; `\1` … `\9` are groups. An expression that cannot be read changes nothing. */
function compileRegex(pattern: string, replacement: string): ModifyPath | null {
  try {
    const expression = RE2JS.compile(pattern)
    const groups = expression.groupCount()
    return (path) => {
      const matcher = expression.matcher(path)
      let result = ''
      let at = 0
      while (matcher.find()) {
        result += path.substring(at, matcher.start())
        result += replacement.replace(/\\([0-9\\])/g, (_all, digit: string) => {
          if (digit === '\\') return '\\'
          return Number(digit) <= groups ? (matcher.group(Number(digit)) ?? '') : ''
        })
        at = matcher.end()
      }
      return rooted(result + path.substring(at))
    }
  } catch {
    return null
  }
}

function rooted(path: string): string {
  return path.startsWith('/') ? path : `/${path}`
}
