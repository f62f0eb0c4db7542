// SPDX-License-Identifier: Apache-2.0
// Writes objects that belong together, by server-side apply, and nothing of anybody else: first it is looked whose each
// is, and one that is not ours stops them all. Before every write the lead is asked for.

import { createHash } from 'node:crypto'
import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { statusOf } from '../kubernetes/api-failure.ts'
import { isMap, type RawMap } from '../watch/value-mistakes.ts'
import { type KubernetesObject, objectName, objectPath } from './object-path.ts'

const REQUEST_TIMEOUT_MS = 10_000 // longer than an apiserver that is alive takes
const NOT_FOUND = 404

/** What of a client is needed. */
export type ObjectApi = Pick<KubernetesClient, 'getJson' | 'apply' | 'applyNew' | 'delete'>

/** The lead is gone: whatever was to be written is the next leader's. */
export class LeadLost extends Error {
  constructor() {
    super('another replica leads')
    this.name = 'LeadLost'
  }
}

/** An object of that name is somebody else's. */
export class NameTaken extends Error {
  constructor(names: readonly string[]) {
    super(`there is ${names.join(', ')} already, which is not of this Gateway`)
    this.name = 'NameTaken'
  }
}

/** Decides by metadata. */
export type IsOurs = (metadata: RawMap) => boolean

/** What was applied, and which version of the object came out. */
interface Applied {
  readonly digest: string
  readonly version: unknown
}

/** Writes for one leadership. */
export class ProvisionWriter {
  readonly #api: ObjectApi
  readonly #fence: () => string | null
  readonly #signal: AbortSignal
  /** By path. What nobody changed since is not applied again. */
  readonly #applied = new Map<string, Applied>()

  /** `signal` ends requests under way. */
  constructor(api: ObjectApi, fence: () => string | null, signal: AbortSignal) {
    this.#api = api
    this.#fence = fence
    this.#signal = signal
  }

  /**
   * Makes the objects what they should be; those that are, are only read. Returns the names of those that it wrote.
   * @throws NameTaken, LeadLost, ApiError, Error for no answer
   */
  async apply(objects: readonly KubernetesObject[], isOurs: IsOurs): Promise<string[]> {
    const found = await Promise.all(objects.map((object) => this.#read(object)))
    const foreign = objects.filter((_, index) => {
      const metadata = found[index]
      return metadata !== null && metadata !== undefined && !isOurs(metadata)
    })
    if (foreign.length > 0) throw new NameTaken(foreign.map(objectName))
    const written: string[] = []
    for (const [index, object] of objects.entries()) {
      if (await this.#write(object, found[index] ?? null)) written.push(objectName(object))
    }
    return written
  }

  /** Deletes exactly that one. @throws LeadLost, ApiError: 409 when it is another one by now, Error for no answer */
  async delete(object: KubernetesObject, uid: string): Promise<void> {
    this.#assertLead()
    await this.#api.delete(objectPath(object), uid, this.#deadline()).catch((error: unknown) => {
      if (statusOf(error) !== NOT_FOUND) throw error
    })
  }

  /** Remembers nothing of objects that should not be any more. */
  forget(objects: readonly KubernetesObject[]): void {
    for (const object of objects) this.#applied.delete(objectPath(object))
  }

  async #read(object: KubernetesObject): Promise<RawMap | null> {
    try {
      return metadataOf(await this.#api.getJson(objectPath(object), {}, this.#deadline()))
    } catch (error) {
      if (statusOf(error) === NOT_FOUND) return null
      throw error
    }
  }

  async #write(object: KubernetesObject, found: RawMap | null): Promise<boolean> {
    const path = objectPath(object)
    const digest = createHash('sha256').update(JSON.stringify(object)).digest('base64')
    const before = this.#applied.get(path)
    if (found !== null && before?.digest === digest && before.version === found.resourceVersion) return false
    this.#assertLead()
    const version = found === null ? await this.#make(object) : await this.#change(object, found)
    this.#applied.set(path, { digest, version })
    return version !== found?.resourceVersion
  }

  /** Returns the version that came out. */
  async #change(object: KubernetesObject, { uid }: RawMap): Promise<unknown> {
    // With the uid it is the object that was looked at, or none.
    const body = { ...object, metadata: { ...object.metadata, uid } }
    return metadataOf(await this.#api.apply(objectPath(object), body, this.#deadline())).resourceVersion
  }

  /** Returns the version that came out. @throws NameTaken when somebody made it between our look and our write */
  async #make(object: KubernetesObject): Promise<unknown> {
    const path = objectPath(object)
    const made = await this.#api.applyNew(path, object, this.#deadline())
    const { uid, resourceVersion } = metadataOf(made.object)
    if (made.isNew) return resourceVersion
    // SPEC Kubernetes "Server-Side Apply": what a manager does not name any more, and nobody else does, goes.
    this.#assertLead()
    const { apiVersion, kind, metadata } = object
    const { name, namespace } = metadata
    const nothing = { apiVersion, kind, metadata: { name, namespace, uid } }
    await this.#api.apply(path, nothing, this.#deadline())
    throw new NameTaken([objectName(object)])
  }

  #assertLead(): void {
    if (this.#fence() === null) throw new LeadLost()
  }

  #deadline(): AbortSignal {
    return AbortSignal.any([this.#signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)])
  }
}

function metadataOf(value: unknown): RawMap {
  if (isMap(value) && isMap(value.metadata)) return value.metadata
  throw new Error('the answer is no object')
}
