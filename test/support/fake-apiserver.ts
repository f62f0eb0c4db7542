// SPDX-License-Identifier: Apache-2.0
// A real HTTP server that lists and watches like an apiserver, and can be told to fail in every way that one does.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { KubeConfig } from '@kubernetes/client-node'
import { WATCHED_KINDS } from '../../controller/watch/kinds.ts'

interface Change {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: Stored
}

type Stored = Record<string, unknown> & { readonly metadata: Record<string, unknown> }

/** One kind in one version. */
interface Resource {
  readonly objects: Map<string, Stored>
  readonly history: Change[]
  readonly watches: Set<ServerResponse>
}

/** What to do with a request instead of answering it; undefined: answer. */
export type Fault = (request: {
  readonly path: string
  readonly query: URLSearchParams
  readonly response: ServerResponse
  readonly token: string
}) => 'handled' | undefined

/** Serves `versions[0]` of every kind unless told otherwise. */
export class FakeApiserver {
  /** Every request in one line: `GET /api/v1/pods?watch=true&…`. */
  readonly requests: string[] = []
  fault: Fault = () => undefined
  /** Objects per page at most. */
  pageSize = Number.POSITIVE_INFINITY
  /** Versions below it are too old to watch from. */
  oldest = 0
  readonly #resources = new Map<string, Resource>()
  #version = 100
  #server: Server | null = null
  #port = 0

  constructor(missing: readonly string[] = []) {
    for (const { group, versions, plural, kind } of WATCHED_KINDS) {
      if (!missing.includes(kind)) this.serve(group, versions[0] ?? '', plural)
    }
  }

  /** The config of a client; over plain HTTP, the token from a file if one is named. */
  kubeConfig(tokenFile?: string): KubeConfig {
    const config = new KubeConfig()
    const authProvider = { name: 'tokenFile', config: { tokenFile } }
    config.loadFromClusterAndUser(
      { name: 'fake', server: `http://127.0.0.1:${this.#port}`, skipTLSVerify: true },
      tokenFile === undefined ? { name: 'user' } : { name: 'user', authProvider },
    )
    return config
  }

  serve(group: string, version: string, plural: string): void {
    this.#resources.set(pathOf(group, version, plural), {
      objects: new Map(),
      history: [],
      watches: new Set(),
    })
  }

  unserve(group: string, version: string, plural: string): void {
    const path = pathOf(group, version, plural)
    for (const watch of this.#resources.get(path)?.watches ?? []) watch.destroy()
    this.#resources.delete(path)
  }

  async listen(): Promise<void> {
    const server = createServer((request, response) => this.#answer(request, response))
    this.#server = server
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (server.address() as AddressInfo).port // as: TCP
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (server === null) return
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }

  /** Writes an object of a kind that is served, as the apiserver stores it. */
  put(value: Record<string, unknown>): void {
    const resource = this.#resourceOf(value)
    const metadata = value.metadata as Record<string, unknown> // as: the tests' own objects
    const key = `${metadata.namespace ?? ''}/${metadata.name}`
    const version = ++this.#version
    const object = {
      ...value,
      metadata: {
        uid: `uid-${key}`,
        ...metadata,
        resourceVersion: String(version),
        managedFields: [{ manager: 'x' }],
      },
    }
    const type = resource.objects.has(key) ? 'MODIFIED' : 'ADDED'
    resource.objects.set(key, object)
    this.#push(resource, { version, type, object })
  }

  delete(value: Record<string, unknown>): void {
    const resource = this.#resourceOf(value)
    const metadata = value.metadata as Record<string, unknown> // as: the tests' own objects
    const key = `${metadata.namespace ?? ''}/${metadata.name}`
    const object = resource.objects.get(key)
    if (object === undefined) throw new Error(`no ${key}`)
    resource.objects.delete(key)
    const version = ++this.#version
    this.#push(resource, {
      version,
      type: 'DELETED',
      object: { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } },
    })
  }

  /** Ends every watch without a word. */
  cutWatches(): void {
    for (const { watches } of this.#resources.values()) for (const watch of watches) watch.destroy()
  }

  /** Tells every watch, or those of one path, which version it has reached, or something else. */
  sendToWatches(event: object = this.#bookmark(), path?: string): void {
    for (const [each, { watches }] of this.#resources) {
      if (path !== undefined && path !== each) continue
      for (const watch of watches) watch.write(`${JSON.stringify(event)}\n`)
    }
  }

  /** Makes all versions so far too old. */
  compact(): void {
    this.oldest = ++this.#version
  }

  get watchCount(): number {
    return [...this.#resources.values()].reduce((sum, { watches }) => sum + watches.size, 0)
  }

  #bookmark(): object {
    return { type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#version) } } }
  }

  #push(resource: Resource, change: Change): void {
    resource.history.push(change)
    for (const watch of resource.watches) watch.write(lineOf(change))
  }

  #resourceOf({ apiVersion, kind }: Record<string, unknown>): Resource {
    const [version = '', group = ''] = String(apiVersion).split('/').toReversed()
    const plural = WATCHED_KINDS.find((each) => each.kind === kind && each.group === group)?.plural ?? ''
    const resource = this.#resources.get(pathOf(group, version, plural))
    if (resource === undefined) throw new Error(`${apiVersion} ${kind} is not served`)
    return resource
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://x')
    this.requests.push(`GET ${request.url}`)
    const token = request.headers.authorization ?? ''
    if (this.fault({ path: url.pathname, query: url.searchParams, response, token }) === 'handled') return
    const resource = this.#resources.get(url.pathname)
    if (resource === undefined) sendStatus(response, 404, 'the server could not find the requested resource')
    else if (url.searchParams.get('watch') === 'true') this.#watch(resource, url.searchParams, response)
    else this.#list(resource, url.searchParams, response)
  }

  #list({ objects }: Resource, query: URLSearchParams, response: ServerResponse): void {
    const limit = Math.min(this.pageSize, Number(query.get('limit') ?? Number.POSITIVE_INFINITY))
    const [start = 0, version = this.#version] = (query.get('continue') ?? '')
      .split('@')
      .filter(Boolean)
      .map(Number)
    if (version < this.oldest) {
      sendStatus(response, 410, 'The provided continue parameter is too old')
      return
    }
    const all = [...objects.values()]
    const items = all.slice(start, start + limit).map(({ apiVersion: _, kind: __, ...item }) => item)
    const hasMore = start + items.length < all.length
    const metadata = {
      resourceVersion: String(version),
      ...(hasMore ? { continue: `${start + items.length}@${version}` } : {}),
    }
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({ kind: 'List', metadata, items }))
  }

  #watch(resource: Resource, query: URLSearchParams, response: ServerResponse): void {
    const from = Number(query.get('resourceVersion'))
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.flushHeaders()
    if (from < this.oldest) {
      const object = { kind: 'Status', code: 410, message: 'too old resource version' }
      response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`)
      return
    }
    for (const change of resource.history) if (change.version > from) response.write(lineOf(change))
    resource.watches.add(response)
    response.on('close', () => resource.watches.delete(response))
  }
}

/** Answers with a Status, as an apiserver does. */
export function sendStatus(
  response: ServerResponse,
  code: number,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(code, { 'Content-Type': 'application/json', ...headers })
  response.end(JSON.stringify({ kind: 'Status', code, message }))
}

const lineOf = ({ type, object }: Change): string => `${JSON.stringify({ type, object })}\n`

function pathOf(group: string, version: string, plural: string): string {
  return group === '' ? `/api/${version}/${plural}` : `/apis/${group}/${version}/${plural}`
}
