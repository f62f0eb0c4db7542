// SPDX-License-Identifier: Apache-2.0
// A configuration file that may be replaced at any time. Polled, because inotify misses what happens behind a
// ConfigMap's symbolic links and on some mounts; a file that cannot be read keeps the last content in force.
import { readFile, stat } from 'node:fs/promises'
import type { Clock, ClockTimer } from './clock.ts'

/** How often the file is looked at: a change is in force within this and the time to read it. */
export const WATCH_INTERVAL_MS = 500

/** Hears of contents. */
export interface WatchedFileHandler {
  /**
   * The file is not looked at again before this is done. May fail: that counts as unreadable, and the content is
   * offered again at the next look.
   */
  onContent(text: string): void | Promise<void>
  onUnreadable(cause: unknown): void
}

/** Watches one file until close(). The first content is delivered by start(). */
export class WatchedFile {
  readonly #path: string
  readonly #clock: Clock
  readonly #handler: WatchedFileHandler
  #stamp = ''
  /** The failure that was told last, '' after a success: a lasting one is told once. */
  #failure = ''
  #timer: ClockTimer | null = null
  #isClosed = false

  constructor(path: string, clock: Clock, handler: WatchedFileHandler) {
    this.#path = path
    this.#clock = clock
    this.#handler = handler
  }

  /** Reads the file once, then again whenever it changes. */
  async start(): Promise<void> {
    await this.#look()
    if (this.#isClosed) return
    this.#timer = this.#clock.startTimer(WATCH_INTERVAL_MS, () => void this.start())
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  async #look(): Promise<void> {
    try {
      const { ino, size, mtimeMs } = await stat(this.#path)
      const stamp = `${ino} ${size} ${mtimeMs}`
      if (stamp === this.#stamp) return
      const text = await readFile(this.#path, 'utf8')
      this.#stamp = stamp
      if (!this.#isClosed) await this.#handler.onContent(text)
      this.#failure = ''
    } catch (cause) {
      this.#stamp = ''
      const failure = String(cause)
      if (failure === this.#failure) return
      this.#failure = failure
      if (!this.#isClosed) this.#handler.onUnreadable(cause)
    }
  }
}
