// SPDX-License-Identifier: Apache-2.0
// Opens the CA as soon as its keys may be read. In a cluster the controller may be there before its rights, or before the
// apiserver answers: an apply that was cut short is completed by the next one, and nobody has to start a controller again.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'

/** Between two attempts. */
const RETRY_MS = 3_000

/**
 * Gives what `open` does, once it succeeds. `onWaiting` hears of every failure that may pass by itself.
 * @throws whatever else `open` throws
 */
export async function awaitAuthority<T>(
  open: () => Promise<T>,
  clock: Clock,
  onWaiting: (error: MeshError) => Promise<void>,
): Promise<T> {
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (!mayPass(error)) throw error
      await onWaiting(error)
    }
    // Until it has started, nothing else keeps the process alive.
    await new Promise<void>((resolve) => void clock.startTimer(RETRY_MS, resolve, true))
  }
}

/** Nothing of ours is wrong: somebody else has to come, or to allow it. */
function mayPass(error: unknown): error is MeshError {
  return (
    error instanceof MeshError &&
    (error.code === 'APISERVER_DENIED' || error.code === 'APISERVER_UNAVAILABLE')
  )
}
