// SPDX-License-Identifier: Apache-2.0
// A directory of YAML and JSON files as source of configuration, live: changes are heard of at once where the system
// tells, and found by looking where it does not. A file that is being written is left alone until it is not.
import { type FSWatcher, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import { type ConfigObject, groupOf, kindKey, refOf } from './config-object.ts'
import type { ConfigSink, ConfigSource } from './config-source.ts'
import { type FoundFile, type Scan, scanDirectory } from './directory-scan.ts'
import { type FileState, holdFileState, joinFiles, NO_FILE, readFileState } from './file-objects.ts'
import { WATCHED_KINDS } from './kinds.ts'
import type { SourceMistake } from './source-mistake.ts'
import { MAX_FILE_BYTES } from './yaml-documents.ts'

const LOOK_INTERVAL_MS = 2_000 // where nobody tells of changes (network file systems) they are found within this
const SETTLE_MS = 150 // a file that changed within this is still being written
const MAX_TOTAL_BYTES = 128 * 1024 * 1024 // bytes of all files together; later files are not read

const GONE = 'gone'

interface KnownFile {
  readonly stamp: string
  readonly state: FileState
}

/** Reads the files under a directory; see file-objects.ts for what counts. */
export class DirectorySource implements ConfigSource {
  readonly name = 'directory'
  readonly #root: string
  readonly #clock: Clock
  #sink: ConfigSink | null = null
  #files = new Map<string, KnownFile>()
  #objects: ReadonlyMap<string, ConfigObject> = new Map()
  #toldMistakes = '[]'
  #faultCount = 0
  #unreachable: string | null = null
  #isSynced = false
  /** Stamps at the last look of files that differ from what was read. */
  #unsettled = new Map<string, string>()
  readonly #watchers = new Map<string, FSWatcher>()
  #timer: ClockTimer | null = null
  #dueMs = Number.POSITIVE_INFINITY
  #look: Promise<void> | null = null
  /** Something was heard of while looking: what was looked at before it may be old. */
  #isOutdated = false
  #isStopped = false

  constructor(root: string, clock: Clock) {
    this.#root = root
    this.#clock = clock
  }

  start(sink: ConfigSink): void {
    this.#sink = sink
    this.#begin()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    await this.#look
  }

  #begin(): void {
    this.#dueMs = Number.POSITIVE_INFINITY
    this.#isOutdated = false
    this.#look = this.#lookOnce().finally(() => {
      this.#look = null
      this.#lookAgainIn(this.#isOutdated || this.#unsettled.size > 0 ? SETTLE_MS : LOOK_INTERVAL_MS)
    })
  }

  /** Looks again after `delayMs`, or sooner when that was planned already. */
  #lookAgainIn(delayMs: number): void {
    if (this.#look !== null) this.#isOutdated = true
    const dueMs = this.#clock.passedMs + delayMs
    if (this.#isStopped || this.#look !== null || dueMs >= this.#dueMs) return
    this.#dueMs = dueMs
    this.#timer?.cancel()
    this.#timer = this.#clock.startTimer(delayMs, () => this.#begin())
  }

  async #lookOnce(): Promise<void> {
    const scan = await scanDirectory(this.#root)
    if (this.#isStopped) return
    this.#watch(scan.directories)
    if (scan.unreachable !== null) this.#reach(scan.unreachable)
    else {
      const files = await this.#readFiles(scan)
      if (this.#isStopped) return
      this.#reach(null)
      const isSame =
        files.size === this.#files.size && [...files].every(([path, each]) => this.#files.get(path) === each)
      this.#files = files
      if (!isSame || !this.#isSynced || scan.faults.length !== this.#faultCount) this.#tell(scan)
      this.#faultCount = scan.faults.length
    }
  }

  async #readFiles(scan: Scan): Promise<Map<string, KnownFile>> {
    const files = new Map<string, KnownFile>()
    const unsettled = new Map<string, string>()
    let totalBytes = 0
    for (const found of scan.files) {
      const { path, stamp, sizeBytes } = found
      const known = this.#files.get(path)
      totalBytes += sizeBytes
      const isSettled = !this.#isSynced || this.#unsettled.get(path) === stamp
      if (known?.stamp === stamp) files.set(path, known)
      else if (isSettled) files.set(path, await this.#readFile(found, known?.state ?? NO_FILE, totalBytes))
      else {
        unsettled.set(path, stamp)
        if (known !== undefined) files.set(path, known)
      }
      if (this.#isStopped) break
    }
    for (const [path, known] of this.#files) {
      if (files.has(path)) continue
      // What cannot be looked at is as it was; what is gone may be about to come back: editors replace files.
      if (scan.faults.some((fault) => isUnder(path, fault.path))) files.set(path, known)
      else if (this.#unsettled.get(path) !== GONE) {
        unsettled.set(path, GONE)
        files.set(path, known)
      }
    }
    this.#unsettled = unsettled
    return new Map([...files].toSorted(([left], [right]) => (left < right ? -1 : 1)))
  }

  async #readFile(
    { path, stamp, sizeBytes }: FoundFile,
    before: FileState,
    totalBytes: number,
  ): Promise<KnownFile> {
    const refused = (message: string): KnownFile => {
      // Without its stamp it is tried again at the next look.
      return { stamp: '', state: holdFileState(before, fileMistake(path, message)) }
    }
    if (sizeBytes > MAX_FILE_BYTES) return refused(`the file has more than ${MAX_FILE_BYTES} bytes`)
    if (totalBytes > MAX_TOTAL_BYTES)
      return refused(`the files together have more than ${MAX_TOTAL_BYTES} bytes`)
    try {
      const text = await readFile(join(this.#root, path), 'utf8')
      return { stamp, state: readFileState(text, path, before) }
    } catch (cause) {
      return refused(cause instanceof Error ? cause.message : String(cause))
    }
  }

  #reach(unreachable: string | null): void {
    if (unreachable === this.#unreachable) return
    this.#unreachable = unreachable
    this.#sink?.reachable(unreachable)
  }

  /** Tells the sink what is different from what it was told. */
  #tell(scan: Scan): void {
    const states = [...this.#files.values()].map(({ state }) => state)
    const { objects, mistakes } = joinFiles(states, this.#objects)
    const before = this.#objects
    this.#objects = objects
    if (this.#isSynced) this.#tellChanges(before, objects)
    else for (const { group, kind } of WATCHED_KINDS) this.#tellKind(kindKey(group, kind))
    const all = [...scan.faults.map(({ path, message }) => fileMistake(path, message)), ...mistakes]
    const text = JSON.stringify(all)
    if (text !== this.#toldMistakes) this.#sink?.mistakes(all)
    this.#toldMistakes = text
    if (this.#isSynced || !states.every(({ isWhole }) => isWhole)) return
    // Not before: a policy may be in a file that was never readable, and without it more would be open than is meant.
    this.#isSynced = true
    this.#sink?.synced()
  }

  #tellKind(key: string): void {
    const ofKind = [...this.#objects.values()].filter(
      ({ apiVersion, kind }) => kindKey(groupOf(apiVersion), kind) === key,
    )
    this.#sink?.replace(key, ofKind)
  }

  #tellChanges(before: ReadonlyMap<string, ConfigObject>, now: ReadonlyMap<string, ConfigObject>): void {
    for (const [key, object] of before) {
      if (!now.has(key)) this.#sink?.remove(refOf(object))
    }
    for (const [key, object] of now) {
      if (before.get(key) !== object) this.#sink?.apply(object)
    }
  }

  /** Follows the directories there are; where that is refused the periodic look does the work. */
  #watch(directories: readonly string[]): void {
    const wanted = new Set(directories)
    for (const [path, watcher] of this.#watchers) {
      if (wanted.has(path)) continue
      watcher.close()
      this.#watchers.delete(path)
    }
    for (const path of wanted) {
      if (this.#watchers.has(path)) continue
      const forget = (): void => {
        this.#watchers.get(path)?.close()
        this.#watchers.delete(path)
      }
      try {
        const watcher = watch(path, { persistent: false }, () => this.#lookAgainIn(SETTLE_MS))
        watcher.on('error', forget)
        this.#watchers.set(path, watcher)
      } catch {
        forget()
      }
    }
  }
}

function isUnder(path: string, fault: string): boolean {
  return fault === '' || path === fault || path.startsWith(`${fault}/`)
}

function fileMistake(file: string, message: string): SourceMistake {
  return {
    severity: 'error',
    origin: { file: file || '.', line: 1, column: 1 },
    path: '',
    message,
    suggestion: '',
  }
}
