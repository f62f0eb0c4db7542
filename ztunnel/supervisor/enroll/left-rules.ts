// SPDX-License-Identifier: Apache-2.0
// Takes away what a supervisor before us has left in the namespace of a pod that is not to be in the mesh.
import { closeSync } from 'node:fs'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { readRedirectRules, removeRedirectRules } from './redirect-rules.ts'

/** `netns` is a descriptor, which is closed; undefined: the pod has none, and nothing is to be done. Never throws. */
export function removeLeftRules(uid: string, netns: number | undefined, log: Log): void {
  if (netns === undefined) return
  try {
    const namespace = NetworkNamespace.fromDescriptor(netns)
    if (readRedirectRules(namespace).tables.length === 0) return
    removeRedirectRules(namespace)
    log.info({ uid }, 'rules that were left behind are removed')
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    log.warn({ uid, reason: error.code, detail: error.detail }, 'rules could not be removed')
  } finally {
    closeSync(netns)
  }
}
