// SPDX-License-Identifier: Apache-2.0
// The end of a data process whose supervisor has died, and that no other one has taken over.
import { supervisorSocket } from '../mesh/generations/handover.ts'
import { isAnySupervisor } from '../mesh/generations/take-over.ts'
import type { ZtunnelConfig } from './config.ts'

/** As much of the data process as is needed here. */
export interface Abandoned {
  readonly config: Pick<ZtunnelConfig, 'adminSocket' | 'upgradeDrainSeconds'>
  /** Was it told that another process will serve? */
  readonly drained: { readonly isRetired: boolean }
  drain(seconds: number | null): Promise<void>
  shutdown(reason: 'SHUTDOWN'): Promise<void>
}

/**
 * Done when nothing is open any more. Who leads the node, or is about to, was given the pods before the supervisor died, and has a
 * data process of its own: what is open here ends as in every update. Without one the pods are nobody's, and it ends at once.
 */
export function endAbandoned(process: Abandoned): Promise<void> {
  const { config, drained } = process
  if (!drained.isRetired && !isAnySupervisor(supervisorSocket(config.adminSocket)))
    return process.shutdown('SHUTDOWN')
  return process.drain(config.upgradeDrainSeconds === 0 ? null : config.upgradeDrainSeconds)
}
