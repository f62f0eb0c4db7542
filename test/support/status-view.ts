// SPDX-License-Identifier: Apache-2.0
// A MeshView of some objects, as the controller would have it after a translation, for tests of statuses.
import type { MeshView } from '../../controller/mesh-view.ts'
import { mergeStatus } from '../../controller/status/merge-status.ts'
import type { StatusPatch } from '../../controller/status/status-patch.ts'
import { Translator } from '../../controller/translate/translate.ts'
import type { Translation } from '../../controller/translate/translation.ts'
import { type ConfigObject, type ConfigView, refKey, refOf } from '../../controller/watch/config-object.ts'
import { SETTINGS } from './translated.ts'
import { parseObjects, viewOf } from './yaml-objects.ts'

/** What a controller sees; change() is a change of the configuration. */
export class StatusWorld implements MeshView {
  readonly #translator = new Translator(SETTINGS)
  readonly #objects = new Map<string, ConfigObject>()
  readonly #listeners = new Set<() => void>()
  #version = 1
  objects: ConfigView
  translation: Translation
  isTranslated = true

  constructor(yaml: string) {
    for (const object of parseObjects(yaml)) this.#put(object)
    this.objects = viewOf(this.#objects.values())
    this.translation = this.#translator.translate(this.objects)
  }

  clients(): readonly [] {
    return []
  }

  onTranslated(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get listenerCount(): number {
    return this.#listeners.size
  }

  /** Objects as they are written, or wrote. */
  change(...objects: readonly ConfigObject[]): void {
    for (const object of objects) this.#put(object)
    this.objects = viewOf(this.#objects.values())
    this.translation = this.#translator.translate(this.objects)
    for (const listener of this.#listeners) listener()
  }

  all(): readonly ConfigObject[] {
    return [...this.#objects.values()]
  }

  remove(patch: Pick<StatusPatch, 'object'>): void {
    this.#objects.delete(refKey(patch.object))
    this.change()
  }

  /** Of the object of a patch. @throws Error when there is none */
  object(patch: Pick<StatusPatch, 'object'>): ConfigObject {
    const found = this.#objects.get(refKey(patch.object))
    if (found === undefined) throw new Error(`no ${refKey(patch.object)}`)
    return found
  }

  /** Writes every status, as the apiserver would tell of it. */
  writeAll(patches: readonly StatusPatch[], nowMs: number): void {
    this.change(
      ...patches.map((patch) => {
        const object = this.object(patch)
        return { ...object, status: mergeStatus(object.status, patch, nowMs).status }
      }),
    )
  }

  #put(object: ConfigObject): void {
    const key = refKey(refOf(object))
    const { metadata } = object
    const uid = metadata.uid || `uid-${key}`
    this.#objects.set(key, {
      ...object,
      metadata: { ...metadata, uid, resourceVersion: String(++this.#version) },
    })
  }
}
