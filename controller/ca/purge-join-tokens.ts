// SPDX-License-Identifier: Apache-2.0
// The duty of the leader that forgets join tokens nobody used, so that what is stored does not grow for ever.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { Pause } from '../../mesh/runtime/pause.ts'
import type { LeaderDuty } from '../leader.ts'
import type { JoinTokenStore } from './join-tokens.ts'

const PURGE_INTERVAL_MS = 600_000 // what is left over costs little
const KEEP_MS = 86_400_000 // for a day after its end people can still see that a token was not used

/** What the duty is made of. */
export interface PurgeOptions {
  readonly store: JoinTokenStore
  readonly clock: Clock
  readonly log: Log
}

/** Makes the duty. */
export function purgeJoinTokens({ store, clock, log }: PurgeOptions): LeaderDuty {
  let work: Promise<void> = Promise.resolve()
  let end = (): void => {}
  const look = async (fence: string | null): Promise<void> => {
    if (fence === null) return
    try {
      const count = await store.purge(clock.nowMs - KEEP_MS, fence)
      if (count > 0) log.info({ count }, 'join tokens that nobody used are forgotten')
    } catch (err) {
      if (!(err instanceof MeshError)) throw err
      log.warn({ err, reason: err.code }, 'join tokens are not looked through; it is tried again')
    }
  }
  return {
    name: 'purge join tokens',
    start: (fence) => {
      const pause = new Pause(clock)
      let isStopped = false
      end = () => {
        isStopped = true
        pause.wake()
      }
      work = (async () => {
        while (!isStopped) {
          await look(fence())
          if (!isStopped) await pause.wait(PURGE_INTERVAL_MS)
        }
      })()
    },
    stop: async () => {
      end()
      await work
    },
  }
}
