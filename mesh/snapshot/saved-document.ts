// SPDX-License-Identifier: Apache-2.0
// A small sealed file that is read at the start and written as a whole after every change, some time later, so that many
// changes cost one write. A disk that takes nothing is tried again; nobody waits for it.
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { isErrno } from '../errors/errno.ts'
import { MeshError } from '../errors/mesh-error.ts'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { readFrames, type SealedPlace } from './read-frames.ts'
import { SnapshotAlarm } from './snapshot-alarm.ts'
import { sweepBeside, writeSealed } from './write-sealed.ts'

/** Changes within this are one write. */
const SAVE_DELAY_MS = 200
/** A disk that would not take it is tried again after this. */
const SAVE_RETRY_MS = 10_000

/** What a document is made of. */
export interface SavedDocumentOptions {
  /** For the log. */
  readonly what: string
  /** May reject; asked again then. */
  readonly place: () => Promise<SealedPlace>
  /** What is to be there now. */
  readonly content: () => unknown
  readonly clock: Clock
  readonly log: Log
}

/** A document as it was saved. */
export interface FoundDocument {
  readonly savedMs: number
  readonly content: unknown
}

/** idle → due → writing → idle, or due again; closed. */
export class SavedDocument {
  readonly #options: SavedDocumentOptions
  readonly #alarm: SnapshotAlarm
  #timer: ClockTimer | null = null
  #work: Promise<void> | null = null
  /** Of what is in the file. */
  #digest = ''
  /** The file as it was read or written last; '': there was none. */
  #file = ''
  #isSwept = false
  #isDue = false
  #isClosed = false

  constructor(options: SavedDocumentOptions) {
    this.#options = options
    this.#alarm = new SnapshotAlarm(options.what, options.log)
  }

  /** Something is on its way to the disk. */
  get isWriting(): boolean {
    return this.#work !== null
  }

  /** The disk did not take it when it was tried. */
  get isUnsaved(): boolean {
    return this.#alarm.isRaised
  }

  /** What an earlier run has left; null: nothing, or nothing that may be used. Never rejects. */
  async load(): Promise<FoundDocument | null> {
    const { what, place: openPlace, log } = this.#options
    try {
      const place = await openPlace()
      // Once: what lies there later may be another process's, which is about to put it into its place.
      if (!this.#isSwept) await sweepBeside(place.path)
      this.#isSwept = true
      this.#file = await fileOf(place)
      let found: FoundDocument | null = null
      for await (const { kind, timeMs, payload } of readFrames(place))
        if (kind === 'content')
          found = { savedMs: timeMs, content: JSON.parse(payload.toString()) as unknown }
      if (found === null)
        throw new MeshError('SNAPSHOT_INVALID', { detail: `${place.path} has lost its end` })
      return found
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return null
      log.error(
        { reason: err instanceof MeshError ? err.code : 'SNAPSHOT_INVALID', what, err },
        'what was saved is not used',
      )
      return null
    }
  }

  /** Another process has written since this one has read or written. Never rejects. */
  async isForeign(): Promise<boolean> {
    try {
      const file = await fileOf(await this.#options.place())
      return file !== '' && file !== this.#file
    } catch {
      return false // the next save will say what is wrong
    }
  }

  /** Its content is another one. */
  changed(): void {
    this.#isDue = true
    this.#startTimer(SAVE_DELAY_MS)
  }

  /** Writes what is due now. */
  async flush(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = null
    await this.#work
    if (this.#isDue) await this.#begin()
  }

  /** Writes what is due, the last time. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    await this.#work
    if (this.#isDue) await this.#save()
  }

  #startTimer(delayMs: number): void {
    if (this.#isClosed || this.#timer !== null || this.#work !== null) return
    this.#timer = this.#options.clock.startTimer(delayMs, () => {
      this.#timer = null
      void this.#begin()
    })
  }

  #begin(): Promise<void> {
    this.#work = this.#save().finally(() => {
      this.#work = null
      if (this.#isDue) this.#startTimer(this.#alarm.isRaised ? SAVE_RETRY_MS : SAVE_DELAY_MS)
    })
    return this.#work
  }

  /** Never rejects. */
  async #save(): Promise<void> {
    const { place, content, clock } = this.#options
    this.#isDue = false
    try {
      const payload = Buffer.from(JSON.stringify(content()))
      const digest = createHash('sha256').update(payload).digest('hex')
      if (digest === this.#digest) return
      const where = await place()
      await writeSealed(where, clock.nowMs, [{ kind: 'content', timeMs: clock.nowMs, payload }])
      this.#digest = digest
      this.#file = await fileOf(where)
      this.#alarm.clear()
    } catch (err) {
      this.#isDue = true
      this.#alarm.raise(err)
    }
  }
}

/** Names what is in a place now: every writer puts a new file there. '' when there is none. */
async function fileOf({ path }: SealedPlace): Promise<string> {
  try {
    const { ino, mtimeMs } = await stat(path)
    return `${ino} ${mtimeMs}`
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return ''
    throw error
  }
}
