// SPDX-License-Identifier: Apache-2.0
// What a duty sees, over a store and nothing else: nothing is translated, and whoever listens hears every change.
import type { MeshView } from '../../controller/mesh-view.ts'
import type { ConfigView } from '../../controller/watch/config-object.ts'

export class TestMeshView implements MeshView {
  objects: ConfigView = { list: () => [], get: () => undefined }
  isTranslated = false
  readonly translation = {
    workloads: new Map(),
    routes: new Map(),
    trafficPolicies: new Map(),
    requestPolicies: new Map(),
    requestTelemetry: new Map(),
    waypointScopes: new Map(),
    routeStates: [],
    services: new Map(),
    authorizations: new Map(),
    findings: [],
    enforcement: [],
  }
  readonly #listeners = new Set<() => void>()

  clients(): [] {
    return []
  }

  onTranslated(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** There are others now, or the same ones changed. */
  changed(objects: ConfigView = this.objects): void {
    this.objects = objects
    this.isTranslated = true
    for (const listener of this.#listeners) listener()
  }

  get listenerCount(): number {
    return this.#listeners.size
  }
}
