// SPDX-License-Identifier: Apache-2.0
// An apiserver as the provisioning of waypoints sees it, in memory: objects with the part that others wrote and the part
// that we applied, so that it can be asked what was done to whom.

import type { KubernetesObject } from '../../controller/provision/object-path.ts'
import type { ObjectApi } from '../../controller/provision/object-writer.ts'
import type { ConfigObject } from '../../controller/watch/config-object.ts'
import { ApiError } from '../../mesh/kubernetes/client.ts'
import { toObject } from './yaml-objects.ts'

interface StoredObject {
  readonly uid: string
  version: number
  /** What others wrote; null: we made it. */
  readonly foreign: KubernetesObject | null
  ours: KubernetesObject | null
}

interface Owner {
  readonly uid: string
}

export class FakeObjects implements ObjectApi {
  readonly stored = new Map<string, StoredObject>()
  /** `apply PATH`, `delete PATH`: every write that came. */
  readonly writes: string[] = []
  /** Reads too. */
  requests = 0
  /** What to answer instead; null: what is asked for. */
  fault: (request: string) => Error | Promise<Error> | null = () => null
  #count = 0

  /** An object that somebody else makes. */
  putForeign(path: string, object: KubernetesObject): void {
    this.stored.set(path, { uid: this.#uid(), version: 1, foreign: object, ours: null })
  }

  /** Somebody changes it. */
  touch(path: string): void {
    const found = this.stored.get(path)
    if (found !== undefined) found.version++
  }

  /** Deletes what belongs to an object that is gone, as Kubernetes does. */
  collectGarbage(): void {
    const uids = new Set([...this.stored.values()].map(({ uid }) => uid))
    for (const [path, each] of this.stored) {
      const owners = ownersOf(each)
      if (owners.length > 0 && !owners.some(({ uid }) => uids.has(uid))) this.stored.delete(path)
    }
  }

  /** Gateways and their classes, as a source delivers them. */
  seen(): ConfigObject[] {
    return [...this.stored.values()].flatMap((each) => {
      const { apiVersion, kind, ...rest } = each.foreign ?? each.ours ?? { apiVersion: '', kind: '' }
      const metadata = { ...(each.foreign ?? each.ours)?.metadata, ...render(each) }
      return kind.startsWith('Gateway') ? [toObject({ ...rest, apiVersion, kind, metadata })] : []
    })
  }

  async getJson(path: string): Promise<unknown> {
    await this.#ask(`get ${path}`)
    return { metadata: render(this.#find(path)) }
  }

  async apply(path: string, body: unknown): Promise<unknown> {
    await this.#ask(`apply ${path}`)
    const found = this.stored.get(path)
    const object = body as KubernetesObject & { metadata: Owner } // as: what the product sends
    if (found?.uid !== object.metadata.uid) throw new ApiError(409, 'uid mismatch')
    const { uid, ...metadata } = object.metadata
    this.#set(found, { ...object, metadata } as KubernetesObject) // as: the same without its uid
    return { metadata: render(found) }
  }

  async applyNew(path: string, body: unknown): Promise<{ object: unknown; isNew: boolean }> {
    await this.#ask(`apply ${path}`)
    const object = body as KubernetesObject // as: what the product sends
    const found = this.stored.get(path)
    const stored = found ?? { uid: this.#uid(), version: 0, foreign: null, ours: null }
    this.stored.set(path, stored)
    this.#set(stored, object)
    return { object: { metadata: render(stored) }, isNew: found === undefined }
  }

  async delete(path: string, uid: string): Promise<void> {
    await this.#ask(`delete ${path}`)
    if (this.#find(path).uid !== uid) throw new ApiError(409, 'another one')
    this.stored.delete(path)
  }

  #find(path: string): StoredObject {
    const found = this.stored.get(path)
    if (found === undefined) throw new ApiError(404, 'not found')
    return found
  }

  #set(stored: StoredObject, object: KubernetesObject): void {
    if (JSON.stringify(stored.ours) !== JSON.stringify(object)) stored.version++
    stored.ours = object
  }

  async #ask(request: string): Promise<void> {
    this.requests++
    const isWrite = !request.startsWith('get ')
    const error = await this.fault(request)
    if (error !== null) throw error
    if (isWrite) this.writes.push(request)
  }

  #uid(): string {
    this.#count++
    return `uid-${this.#count}`
  }
}

function ownersOf({ foreign, ours }: StoredObject): readonly Owner[] {
  const all = [...(foreign?.metadata.ownerReferences ?? []), ...(ours?.metadata.ownerReferences ?? [])]
  return all as unknown as readonly Owner[] // as: owner references have a uid
}

function render(each: StoredObject): Record<string, unknown> {
  return {
    ...{ uid: each.uid, resourceVersion: String(each.version) },
    labels: { ...each.foreign?.metadata.labels, ...each.ours?.metadata.labels },
    ownerReferences: ownersOf(each),
  }
}
