// SPDX-License-Identifier: Apache-2.0
// The CA's keys in one Secret, a text per entry of `data`. The version of a text is its hash: replicas that change other
// texts of the same Secret do not disturb each other, and resourceVersion orders the writes.
import { createHash } from 'node:crypto'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import type { KeyStore, StoredText } from '../ca/key-store.ts'
import { isMap, type RawMap } from '../watch/value-mistakes.ts'
import { apiFailure, statusOf } from './api-failure.ts'

const REQUEST_TIMEOUT_MS = 10_000 // longer than an apiserver that is alive takes, shorter than a node waits for us
const CONFLICTS = 5 // writes to other texts that may come between our look and our write
const NOT_FOUND = 404
const CONFLICT = 409

/** Where the Secret is. controller/rbac.yaml allows exactly this name. */
export interface SecretName {
  readonly namespace: string
  readonly name: string
}

/** A store in a Secret, made when something is first written. @throws APISERVER_UNAVAILABLE, APISERVER_DENIED, CA_KEY */
export function openSecretKeyStore(client: KubernetesClient, secret: SecretName): KeyStore {
  const place = new SecretPlace(client, secret)
  return {
    read: async (name) => {
      const found = await place.get()
      return found === null ? null : storedText(found, name)
    },
    write: async (name, text, version) => {
      for (let attempt = 0; attempt < CONFLICTS; attempt++) {
        const found = await place.get()
        const before = found === null ? null : storedText(found, name)
        if ((before?.version ?? null) !== version) return false
        if (await place.put(found, name, text)) return true
      }
      return false // the caller reads again
    },
  }
}

class SecretPlace {
  readonly #client: KubernetesClient
  readonly #secret: SecretName

  constructor(client: KubernetesClient, secret: SecretName) {
    this.#client = client
    this.#secret = secret
  }

  get #collection(): string {
    return `/api/v1/namespaces/${this.#secret.namespace}/secrets`
  }

  get #path(): string {
    return `${this.#collection}/${this.#secret.name}`
  }

  async get(): Promise<RawMap | null> {
    try {
      const value = await this.#client.getJson(this.#path, {}, AbortSignal.timeout(REQUEST_TIMEOUT_MS))
      if (isMap(value)) return value
    } catch (error) {
      if (statusOf(error) === NOT_FOUND) return null
      throw apiFailure(error, `read Secret ${this.#secret.namespace}/${this.#secret.name}`)
    }
    throw new MeshError('CA_KEY', { detail: `Secret ${this.#secret.name} is no object` })
  }

  /** False: somebody else wrote the Secret meanwhile. */
  async put(found: RawMap | null, name: string, text: string): Promise<boolean> {
    const data = { ...dataOf(found), [name]: Buffer.from(text).toString('base64') }
    const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS)
    try {
      if (found === null) await this.#client.create(this.#collection, this.#made(data), signal)
      else await this.#client.replace(this.#path, { ...found, data }, signal)
      return true
    } catch (error) {
      // NOT_FOUND: it was deleted after our look, which then was too old as well.
      if (statusOf(error) === CONFLICT || (found !== null && statusOf(error) === NOT_FOUND)) return false
      throw apiFailure(error, `write Secret ${this.#secret.namespace}/${this.#secret.name}`)
    }
  }

  #made(data: RawMap): RawMap {
    const { namespace, name } = this.#secret
    return { apiVersion: 'v1', kind: 'Secret', type: 'Opaque', metadata: { namespace, name }, data }
  }
}

function dataOf(secret: RawMap | null): RawMap {
  return isMap(secret?.data) ? secret.data : {}
}

/** The text of that name, or null. @throws CA_KEY when there is something else */
function storedText(secret: RawMap, name: string): StoredText | null {
  const value = dataOf(secret)[name]
  if (value === undefined) return null
  const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : null
  // Node's decoder skips what is no base64: encoding again says whether it did.
  if (bytes === null || bytes.length === 0 || bytes.toString('base64') !== value)
    throw new MeshError('CA_KEY', { detail: `entry ${name} of the Secret is damaged` })
  const text = bytes.toString('utf8')
  return { text, version: createHash('sha256').update(text).digest('hex') }
}
