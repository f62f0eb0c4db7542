// SPDX-License-Identifier: Apache-2.0
// A source of configuration in memory: a test says what there is.
import { type ConfigObject, groupOf, kindKey, refKey, refOf } from '../../controller/watch/config-object.ts'
import type { ConfigSink, ConfigSource } from '../../controller/watch/config-source.ts'
import { parseObjects } from './yaml-objects.ts'

/** Without versions: whatever is told again has changed. */
const objectsOf = (text: string): readonly ConfigObject[] =>
  parseObjects(text).map((object) => ({
    ...object,
    metadata: { ...object.metadata, resourceVersion: '' },
  }))

/** The source. */
export class MemorySource implements ConfigSource {
  readonly name = 'memory'
  #objects: readonly ConfigObject[]
  #sink: ConfigSink | null = null

  constructor(text: string) {
    this.#objects = objectsOf(text)
  }

  start(sink: ConfigSink): void {
    this.#sink = sink
    this.#tell()
    sink.synced()
  }

  /** All there is from now on. */
  set(text: string): void {
    const gone = new Map(this.#objects.map((object) => [refKey(refOf(object)), object]))
    this.#objects = objectsOf(text)
    for (const object of this.#objects) gone.delete(refKey(refOf(object)))
    for (const object of gone.values()) this.#sink?.remove(refOf(object))
    this.#tell()
  }

  async stop(): Promise<void> {
    this.#sink = null
  }

  #tell(): void {
    const byKind = Map.groupBy(this.#objects, ({ apiVersion, kind }) => kindKey(groupOf(apiVersion), kind))
    for (const [kind, objects] of byKind) this.#sink?.replace(kind, objects)
  }
}
