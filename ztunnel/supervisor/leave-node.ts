// SPDX-License-Identifier: Apache-2.0
// What a ztunnel leaves on its node so that the next one finds it, and what is to go when none comes: keys, saved configuration,
// the requests of the CNI plugin, sockets. The directories themselves stay, empty: volumes are mounted there.
import { readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { isErrno } from '../../mesh/errors/errno.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { ZtunnelConfig } from '../config.ts'

/** Where it is. */
export type NodePlaces = Pick<ZtunnelConfig, 'stateDirectory' | 'cniSpoolDirectory' | 'adminSocket'>

/** Takes all of it away; nobody of ours may run any more. Never throws. */
export function leaveNode({ stateDirectory, cniSpoolDirectory, adminSocket }: NodePlaces, log: Log): void {
  const socket = basename(adminSocket)
  // Others may have files beside our sockets; the other two directories are ours alone.
  const isOfRun = (name: string): boolean => name.startsWith(socket) || name.startsWith('compile-cache-')
  empty(stateDirectory, () => true, log)
  empty(cniSpoolDirectory, () => true, log)
  empty(dirname(adminSocket), isOfRun, log)
  log.info({ stateDirectory, cniSpoolDirectory }, 'the node is left as it was')
}

function empty(directory: string, isOurs: (name: string) => boolean, log: Log): void {
  if (directory === '') return
  try {
    for (const name of readdirSync(directory))
      if (isOurs(name)) rmSync(join(directory, name), { recursive: true, force: true })
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) log.warn({ err, directory }, 'something of ours stays on the node')
  }
}
