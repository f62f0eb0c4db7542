// SPDX-License-Identifier: Apache-2.0
// Waits until something is so that becomes so by what somebody hears.

/** Whoever hears calls tell(). */
export class News {
  readonly #waiting = new Set<() => void>()

  /** Asks now and at all news; false when the signal comes first. */
  async until(isSo: () => boolean, signal: AbortSignal): Promise<boolean> {
    if (isSo()) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const look = (): void => {
      if (isSo()) resolve(true)
      else if (signal.aborted) resolve(false)
    }
    this.#waiting.add(look)
    signal.addEventListener('abort', look)
    look()
    return await promise.finally(() => {
      this.#waiting.delete(look)
      signal.removeEventListener('abort', look)
    })
  }

  tell(): void {
    for (const look of [...this.#waiting]) look()
  }
}
