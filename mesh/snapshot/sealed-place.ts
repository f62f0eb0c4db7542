// SPDX-License-Identifier: Apache-2.0
// Where the files are that a node keeps for itself, and with which key.
import { join } from 'node:path'
import { openNodeKey } from './node-key.ts'
import type { SealedPlace } from './read-frames.ts'
import type { SealPurpose } from './sealed-frames.ts'

const FILES: Readonly<Record<SealPurpose, string>> = {
  model: 'model.journal',
  certificates: 'certificates.sealed',
  pods: 'pods.sealed',
  peers: 'peers.sealed',
  events: 'events.sealed',
}

/** Whose files they are, and where. */
export interface SealedOwner {
  readonly stateDirectory: string
  readonly trustDomain: string
  readonly clusterId: string
  readonly nodeName: string
}

/** Where a file of this node is; makes the directory and the key when asked for the first time. */
export function sealedPlace(config: SealedOwner, purpose: SealPurpose): () => Promise<SealedPlace> {
  const { stateDirectory, trustDomain, clusterId, nodeName } = config
  return async () => ({
    ...{ path: join(stateDirectory, FILES[purpose]), purpose, owner: { trustDomain, clusterId, nodeName } },
    key: await openNodeKey(stateDirectory),
  })
}
