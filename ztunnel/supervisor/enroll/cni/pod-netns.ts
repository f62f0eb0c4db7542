// SPDX-License-Identifier: Apache-2.0
// Opens the network namespace that a runtime has made for a pod.
import { closeSync, constants, openSync } from 'node:fs'
import { MeshError } from '../../../../mesh/errors/mesh-error.ts'
import { isHostNamespace } from '../pod-namespaces.ts'
import { namespacePath } from './cni-request.ts'

/**
 * A descriptor of the caller for the namespace at the path `netns` of the node; `procPath` shows the node's processes.
 * @throws NAMESPACE_GONE, NAMESPACE_SHARED for the node's own
 */
export function openPodNetns(netns: string, procPath: string): number {
  const path = namespacePath(netns, procPath)
  // A runtime keeps namespaces as files, never as links; what a process has is a link by nature.
  const flags = path.endsWith('/ns/net') ? 0 : constants.O_NOFOLLOW
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags)
  } catch (cause) {
    throw new MeshError('NAMESPACE_GONE', { detail: netns, cause })
  }
  if (!isHostNamespace(fd, procPath)) return fd
  closeSync(fd)
  throw new MeshError('NAMESPACE_SHARED', { detail: `${netns} is the namespace of the node` })
}
