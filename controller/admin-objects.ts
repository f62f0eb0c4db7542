// SPDX-License-Identifier: Apache-2.0
// The admin API of the configuration, where it is changed through us: YAML or JSON as one would apply it to Kubernetes.
// Everything is read and checked before anything is written.
import type { FastifyInstance } from 'fastify'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import type { App } from './app.ts'
import { audited } from './audited.ts'
import { admitObject } from './watch/admit-object.ts'
import { type ObjectRef, refOf } from './watch/config-object.ts'
import type { MistakeSeverity, SourceMistake } from './watch/source-mistake.ts'
import { formatPath } from './watch/value-mistakes.ts'
import { MAX_FILE_BYTES, readDocuments } from './watch/yaml-documents.ts'

const MAX_TOLD = 5 // mistakes in one answer: more help nobody
const ANY_TYPE = { bodyLimit: MAX_FILE_BYTES }

/** What a request brings. */
interface Wanted {
  readonly values: readonly unknown[]
  readonly refs: readonly ObjectRef[]
  /** Objects of kinds that are not read. */
  readonly ignored: number
}

/** Adds the routes, in a scope in which a body is text, whatever its type says. */
export function addObjectRoutes(server: FastifyInstance, app: App): void {
  void server.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
    scope.post('/objects', ANY_TYPE, ({ body }) =>
      changed(app, 'put', body, async ({ values }) => {
        for (const value of values) await app.objects.put(value)
      }),
    )
    scope.put('/objects', ANY_TYPE, ({ body }) =>
      changed(app, 'replace all', body, async ({ values }) => await app.objects.replaceAll(values)),
    )
    scope.delete('/objects', ANY_TYPE, ({ body }) =>
      changed(app, 'delete', body, async ({ refs }) => {
        for (const ref of refs) await app.objects.delete(ref)
      }),
    )
  })
}

async function changed(app: App, what: string, body: unknown, write: (wanted: Wanted) => Promise<void>) {
  return await audited(app, 'objects-written', what, async (tell) => {
    void app.objects // where nothing can be written, nothing needs to be read
    const wanted = read(typeof body === 'string' ? body : '')
    tell(`${what} ${wanted.values.length}`)
    await write(wanted)
    return { count: wanted.values.length, ignored: wanted.ignored }
  })
}

/** @throws CONFIG_INVALID when anything in the text is wrong */
function read(text: string): Wanted {
  const { values, mistakes } = readDocuments(text, 'body')
  const wrong: SourceMistake[] = mistakes.filter(isError)
  const good: unknown[] = []
  const refs: ObjectRef[] = []
  for (const { value, origin, locate } of values) {
    const admission = admitObject(value, origin)
    // Finding the place costs a walk, so that nobody gets ten thousand of them.
    for (const { path, ...rest } of admission.mistakes.filter(isError))
      if (wrong.length < MAX_TOLD) wrong.push({ ...rest, origin: locate(path), path: formatPath(path) })
    if (admission.verdict !== 'good') continue
    good.push(value)
    refs.push(refOf(admission.object))
  }
  if (wrong.length > 0)
    throw new MeshError('CONFIG_INVALID', { detail: wrong.slice(0, MAX_TOLD).map(textOf).join('; ') })
  // Nothing at all is a mistake sooner than a wish: it would take everything away.
  if (good.length === 0) throw new MeshError('CONFIG_INVALID', { detail: 'there is no object in the body' })
  return { values: good, refs, ignored: values.length - good.length }
}

function isError({ severity }: { readonly severity: MistakeSeverity }): boolean {
  return severity === 'error'
}

function textOf({ origin, path, message, suggestion }: SourceMistake): string {
  const place = origin === null ? '' : `line ${origin.line}, column ${origin.column}: `
  const near = suggestion === '' ? '' : ` (did you mean ${suggestion}?)`
  return `${place}${path === '' ? '' : `${path}: `}${message}${near}`
}
