// SPDX-License-Identifier: Apache-2.0
// What duties see of the controller: the configuration, what became of it, who follows.
import type { ClientStatus } from './publish/delta-server.ts'
import type { Translation } from './translate/translation.ts'
import type { ConfigView } from './watch/config-object.ts'

export interface MeshView {
  /** Objects as they are now. */
  readonly objects: ConfigView
  /** What was made of them last; empty before the first time. */
  readonly translation: Translation
  /** True once the configuration was read and translated as a whole. */
  readonly isTranslated: boolean
  clients(): readonly ClientStatus[]
  /** Called after every translation; ends the calls when it is called itself. */
  onTranslated(listener: () => void): () => void
}
