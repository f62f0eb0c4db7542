// SPDX-License-Identifier: Apache-2.0
// The status subresources of a StatusWorld as an apiserver serves them: versions, conflicts, and failures on demand.

import { type StatusApi, statusPath } from '../../controller/status/status-writer.ts'
import { type ConfigObject, refOf } from '../../controller/watch/config-object.ts'
import { isMap } from '../../controller/watch/value-mistakes.ts'
import { ApiError } from '../../mesh/kubernetes/client.ts'
import type { StatusWorld } from './status-view.ts'

/** Called before a request is served; throws what the apiserver would answer. */
export type StatusFault = (request: { readonly method: 'GET' | 'PUT'; readonly path: string }) => void

export class StatusApiFake implements StatusApi {
  /** `GET shop/cart` … in order. */
  readonly requests: string[] = []
  reloads = 0
  fault: StatusFault = () => undefined
  /** False: the watch is late, and the world does not hear of what is written. */
  isWatched = true
  readonly #world: StatusWorld
  readonly #written = new Map<string, ConfigObject>()

  constructor(world: StatusWorld) {
    this.#world = world
  }

  get writes(): readonly string[] {
    return this.requests.filter((each) => each.startsWith('PUT'))
  }

  reload(): void {
    this.reloads++
  }

  async getJson(path: string): Promise<unknown> {
    const object = this.#serve('GET', path)
    const { apiVersion, kind, metadata, status } = object
    return structuredClone({ apiVersion, kind, metadata, spec: {}, status })
  }

  async replace(path: string, body: unknown): Promise<unknown> {
    const object = this.#serve('PUT', path)
    const sent = isMap(body) && isMap(body.metadata) ? body.metadata.resourceVersion : ''
    if (sent !== object.metadata.resourceVersion) throw new ApiError(409, 'the object has been modified')
    const status = isMap(body) && isMap(body.status) ? body.status : {}
    this.put({ ...object, status })
    return body
  }

  /** Somebody writes it. */
  put(object: ConfigObject): void {
    const resourceVersion = `${Number(object.metadata.resourceVersion) + 1000}`
    const next = { ...object, metadata: { ...object.metadata, resourceVersion } }
    this.#written.set(pathOf(object), next)
    if (this.isWatched) this.deliver()
  }

  /** What is there now. */
  object(patch: Parameters<typeof statusPath>[0]): ConfigObject {
    return this.#at(statusPath(patch))
  }

  /** The watch tells what was written. */
  deliver(): void {
    const objects = [...this.#written.values()]
    this.#written.clear()
    this.#world.change(...objects)
  }

  #serve(method: 'GET' | 'PUT', path: string): ConfigObject {
    this.requests.push(`${method} ${path.split('/').slice(-4, -1).join('/')}`)
    this.fault({ method, path })
    return this.#at(path)
  }

  #at(path: string): ConfigObject {
    const found = this.#written.get(path) ?? this.#world.all().find((each) => pathOf(each) === path)
    if (found === undefined) throw new ApiError(404, 'not found')
    return found
  }
}

function pathOf(object: ConfigObject): string {
  return statusPath({ object: refOf(object), apiVersion: object.apiVersion })
}
