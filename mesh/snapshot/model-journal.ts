// SPDX-License-Identifier: Apache-2.0
// The configuration as a journal of the controller's responses, as they came. Main keeps no byte of it: what is replaced
// stays in the file until that has doubled, then the transient thread copies what is still true. A process has a file of
// its own, put in the place of its forerunner's, which may still be draining.
import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import type { DiscoveryJournal } from '../discovery/discovery-journal.ts'
import { isErrno } from '../errors/errno.ts'
import { MeshError } from '../errors/mesh-error.ts'
import { isRefusal } from '../errors/refusal.ts'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { readFrames, type SealedPlace } from './read-frames.ts'
import { FrameChain } from './sealed-frames.ts'
import { assessAge } from './snapshot-age.ts'
import { SnapshotAlarm } from './snapshot-alarm.ts'
import { moveInto, type NewFrame, type SealedEnd, sweepBeside, writeBeside } from './write-sealed.ts'

/** While a controller is there, that is written down this often: the age of a snapshot is right to that. */
const CONFIRM_INTERVAL_MS = 600_000
/** A disk that would not take anything is tried again after this. */
const RETRY_MS = 10_000
/** Responses that wait for the disk, the last one aside. Beyond, the journal stays behind until the next start. */
const MAX_UNSAVED_BYTES = 32 * 1024 * 1024
/** A journal smaller than this is not worth compacting. */
const COMPACT_MIN_LENGTH = 1024 * 1024

/** What a journal is made of. */
export interface ModelJournalOptions {
  /** Opened when it is first needed. May reject. */
  readonly place: () => Promise<SealedPlace>
  /** compactJournal, wherever it runs. */
  readonly compact: (
    place: SealedPlace,
    lastMac: Uint8Array,
  ) => Promise<SealedEnd & { readonly path: string }>
  readonly clock: Clock
  readonly log: Log
}

/** The file this process writes. */
interface OwnFile {
  readonly place: SealedPlace
  readonly handle: FileHandle
  readonly inode: number
  chain: FrameChain
  length: number
  /** After it was last compacted, or should have been. */
  firstLength: number
}

/** new → (read →) writing → closed; writing → behind when the disk, or another process, has taken the file. */
export class ModelJournal implements DiscoveryJournal {
  readonly #options: ModelJournalOptions
  readonly #alarm: SnapshotAlarm
  /** Read, and to be gone on with; null: begun anew. */
  #found: { readonly place: SealedPlace; readonly mac: Buffer } | null = null
  #own: OwnFile | null = null
  #waiting: NewFrame[] = []
  #waitingBytes = 0
  #isBehind = false
  #isConfirmed = false
  #isClosed = false
  #confirmTimer: ClockTimer | null = null
  #retryTimer: ClockTimer | null = null
  #work: Promise<void> | null = null

  constructor(options: ModelJournalOptions) {
    this.#options = options
    this.#alarm = new SnapshotAlarm('configuration', options.log)
  }

  async read(onResponse: (response: Buffer) => void): Promise<number | null> {
    const { place: openPlace, clock, log } = this.#options
    try {
      const place = await openPlace()
      let last: { readonly timeMs: number; readonly mac: Buffer } | null = null
      for await (const frame of readFrames(place)) {
        if (frame.kind === 'content') onResponse(frame.payload)
        last = frame
      }
      if (last === null) return null
      const age = assessAge(last.timeMs, clock.nowMs)
      if (isRefusal(age)) throw new MeshError(age.code, { detail: age.detail })
      if (age.isFromFuture)
        log.warn({ savedMs: last.timeMs }, 'the saved configuration is from the future: a clock is wrong')
      this.#found = { place, mac: last.mac }
      return last.timeMs
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return null
      const reason = err instanceof MeshError ? err.code : 'SNAPSHOT_INVALID'
      log.error({ reason, err }, 'the saved configuration is not used')
      return null
    }
  }

  /** Something is on its way to the disk. */
  get isWriting(): boolean {
    return this.#work !== null
  }

  /** The disk lacks something of it, and did not take it when it was tried. */
  get isUnsaved(): boolean {
    return this.#alarm.isRaised || this.#isBehind
  }

  append(response: Buffer): void {
    this.#add({ kind: 'content', timeMs: this.#options.clock.nowMs, payload: response })
  }

  setConfirmed(isConfirmed: boolean): void {
    if (isConfirmed === this.#isConfirmed) return
    this.#isConfirmed = isConfirmed
    this.#confirmTimer?.cancel()
    if (isConfirmed) this.#confirm()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#confirmTimer?.cancel()
    this.#retryTimer?.cancel()
    while (this.#work !== null) await this.#work
    await this.#own?.handle.close()
    this.#own = null
  }

  /** What is in force is right by the word of a controller. */
  #confirm(): void {
    const { clock } = this.#options
    this.#add({ kind: 'confirmation', timeMs: clock.nowMs, payload: new Uint8Array() })
    this.#confirmTimer = clock.startTimer(CONFIRM_INTERVAL_MS, () => this.#confirm())
  }

  #add(frame: NewFrame): void {
    if (this.#isBehind || this.#isClosed) return
    if (this.#waitingBytes > MAX_UNSAVED_BYTES) {
      this.#stayBehind('too much waits for the disk')
      return
    }
    this.#waiting.push(frame)
    this.#waitingBytes += frame.payload.length
    if (this.#retryTimer === null) this.#pump()
  }

  /** What is on the disk stays a true, and old, beginning. */
  #stayBehind(why: string): void {
    this.#isBehind = true
    this.#waiting = []
    this.#waitingBytes = 0
    this.#confirmTimer?.cancel()
    this.#options.log.warn({ reason: 'SNAPSHOT_NOT_SAVED', why }, 'the saved configuration stays behind')
  }

  #pump(): void {
    if (this.#work !== null || this.#waiting.length === 0) return
    this.#work = this.#run().finally(() => {
      this.#work = null
      if (this.#retryTimer === null) this.#pump()
    })
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    try {
      this.#own ??= await this.#begin()
      await this.#write(this.#own)
      this.#alarm.clear()
      if (this.#own.length > 2 * this.#own.firstLength + COMPACT_MIN_LENGTH) await this.#compact(this.#own)
    } catch (err) {
      this.#alarm.raise(err)
      if (this.#isClosed) this.#waiting = []
      if (this.#isClosed || this.#isBehind) return
      this.#retryTimer = this.#options.clock.startTimer(RETRY_MS, () => {
        this.#retryTimer = null
        this.#pump()
      })
    }
  }

  /** A file of this process: what is still true of the one that was found, or an empty one. */
  async #begin(): Promise<OwnFile> {
    const { place: openPlace, compact, clock } = this.#options
    const found = this.#found
    const place = found?.place ?? (await openPlace())
    await sweepBeside(place.path)
    const made = found === null ? await writeBeside(place, clock.nowMs, []) : await compact(place, found.mac)
    return takePlace(place, made)
  }

  /** Everything that waits, in one write. What could not be written is taken back and stays waiting. */
  async #write(own: OwnFile): Promise<void> {
    const frames = this.#waiting
    const bytes = this.#waitingBytes
    this.#waiting = []
    this.#waitingBytes = 0
    const chain = new FrameChain(own.place.key, own.chain.last)
    try {
      const pieces: Uint8Array[] = []
      for (const { kind, timeMs, payload } of frames)
        pieces.push(...(await chain.seal(kind, timeMs, payload)))
      const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
      const { bytesWritten } = await own.handle.writev(pieces, own.length)
      if (bytesWritten < length)
        throw new MeshError('SNAPSHOT_NOT_SAVED', { detail: 'the disk took a part of it' })
      own.length += length
      own.chain = chain
    } catch (error) {
      if (!this.#isBehind) {
        this.#waiting.unshift(...frames)
        this.#waitingBytes += bytes
      }
      await own.handle.truncate(own.length).catch(() => {}) // else the next write covers it
      throw error
    }
  }

  /** Never rejects: what cannot be compacted now is appended to until it has doubled again. */
  async #compact(own: OwnFile): Promise<void> {
    const { place, chain, inode } = own
    try {
      if ((await stat(place.path)).ino !== inode) {
        this.#stayBehind('another process of this node keeps it')
        return
      }
      this.#own = await takePlace(place, await this.#options.compact(place, chain.last))
      await own.handle.close()
    } catch (err) {
      if (err instanceof MeshError && err.code === 'SNAPSHOT_INVALID') this.#stayBehind(err.detail)
      else this.#options.log.warn({ err }, 'the saved configuration is not compacted')
      own.firstLength = own.length
    }
  }
}

async function takePlace(
  place: SealedPlace,
  { path, length, mac }: SealedEnd & { readonly path: string },
): Promise<OwnFile> {
  const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    const { ino: inode } = await handle.stat()
    await moveInto(place.path, path)
    const chain = new FrameChain(place.key, Buffer.from(mac))
    return { place, handle, inode, chain, length, firstLength: length }
  } catch (error) {
    await handle.close()
    throw error
  }
}
