// SPDX-License-Identifier: Apache-2.0
// Path templates of Istio: `{*}` is one segment, `{**}` the rest of the path or what stands before its end. SPEC ISTIO-API
// Operation.paths. Each part is looked at once: no expression, no backtracking. Pure.

/** Where a path that begins at `at` is behind the segments; -1: it does not have them. */
type Walk = (path: string, at: number) => number

/** `template` begins with `/`; its operators are whole segments, one `{**}` at most and no `{*}` behind it. */
export function compilePathTemplate(template: string): (path: string) => boolean {
  const rest = template.indexOf('{**}')
  if (rest < 0) {
    const walk = compileSegments(template)
    return (path) => walk(path, 0) === path.length
  }
  const walk = compileSegments(template.slice(0, rest))
  const end = template.slice(rest + '{**}'.length)
  return (path) => {
    const at = walk(path, 0)
    return at >= 0 && path.length - end.length >= at && path.endsWith(end)
  }
}

function compileSegments(template: string): Walk {
  const texts = template.split('{*}')
  return (path, start) => {
    let at = start
    for (const [index, text] of texts.entries()) {
      if (index > 0) {
        const slash = path.indexOf('/', at)
        const end = slash < 0 ? path.length : slash
        if (end === at) return -1 // a segment is never empty
        at = end
      }
      if (!path.startsWith(text, at)) return -1
      at += text.length
    }
    return at
  }
}
