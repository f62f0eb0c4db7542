// SPDX-License-Identifier: Apache-2.0
// The agent's side of the CNI plugin: a directory of root's on the node, in which the plugin asks and is answered. What it
// says of time is the node's uptime: it never steps, and a shell reads it without a program. See cni/sidestep-cni.
import {
  chmodSync,
  closeSync,
  constants,
  type FSWatcher,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { ReasonCode } from '../../../../mesh/errors/reasons.ts'
import { isRefusal } from '../../../../mesh/errors/refusal.ts'
import type { Clock, ClockTimer } from '../../../../mesh/runtime/clock.ts'
import type { Log } from '../../../../mesh/runtime/log.ts'
import { type CniRequest, MAX_CNI_REQUEST_BYTES, parseCniRequest } from './cni-request.ts'

/** The plugin takes an agent for dead that has not written for three seconds. */
const TICK_MS = 500
/** Pods looked after at once; the others wait for their turn. */
const MAX_ADMISSIONS = 64
/** Files looked at in one look: a node has fewer pods. */
const MAX_SPOOL_FILES = 4096
/** One request is worked on no longer; the plugin has given up long before. */
const ADMISSION_TIMEOUT_MS = 10_000
/** What the plugin has not taken after a minute, it has left behind. In ticks: the time of day may step. */
const LEFT_AFTER_TICKS = 120
const ALIVE = 'alive'
const DRAFT = '.draft'
const FILE = /^(?<id>[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127})\.(?<kind>request|answer|late|tmp|draft)$/

/** What has become of a pod that is being made. */
export type Admission =
  /** Its rules and listeners stand, or it is not of the mesh. */
  | { readonly kind: 'done'; readonly isEnrolled: boolean }
  | { readonly kind: 'failed'; readonly code: ReasonCode }

/** What a spool needs. */
export interface CniSpoolOptions {
  /** The same path on the node and here. */
  readonly directory: string
  readonly clock: Clock
  readonly log: Log
  /** Looks after one pod. Never throws. */
  admit(request: CniRequest, signal: AbortSignal): Promise<Admission>
  /** A pod of the mesh that had started without it. */
  onLate(request: CniRequest): void
}

/** start() … stop(). */
export class CniSpool {
  readonly #options: CniSpoolOptions
  readonly #stopped = new AbortController()
  /** Files that are worked on, or answered and not taken yet: since which tick. */
  readonly #seen = new Map<string, number>()
  #ticks = 0
  /** Late ones of which nothing could be learned: looked at again with the next tick. */
  readonly #again = new Set<string>()
  #admissions = 0
  #watcher: FSWatcher | null = null
  #timer: ClockTimer | null = null
  #isLooking = false
  #lastBeat = ''
  #lastFailure = ''

  constructor(options: CniSpoolOptions) {
    this.#options = options
  }

  start(): void {
    this.#tick()
  }

  /** From now on the plugin waits for nobody, unless there is another agent. */
  stop(): void {
    this.#stopped.abort()
    this.#timer?.cancel()
    this.#watcher?.close()
    const path = this.#path(ALIVE)
    try {
      // Of the one who comes after us it stays.
      if (readFileSync(path, 'latin1') === this.#lastBeat) rmSync(path, { force: true })
    } catch {
      // It is gone already.
    }
  }

  #path(name: string): string {
    return join(this.#options.directory, name)
  }

  #tick(): void {
    const { directory, clock, log } = this.#options
    this.#ticks++
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      if (this.#watcher === null) {
        chmodSync(directory, 0o700)
        this.#watch()
      }
      this.#beat()
      for (const name of this.#again) this.#seen.delete(name)
      this.#again.clear()
      this.#look()
      this.#lastFailure = ''
    } catch (err) {
      const failure = String(err)
      if (failure !== this.#lastFailure)
        log.warn({ err, directory }, 'the CNI spool cannot be used; new pods start without it')
      this.#lastFailure = failure
    }
    this.#timer = clock.startTimer(TICK_MS, () => this.#tick())
  }

  #watch(): void {
    const watcher = watch(this.#options.directory, { persistent: false })
    watcher.on('change', (_, name) => {
      const isOurs = name === ALIVE || String(name).endsWith(DRAFT)
      if (isOurs || this.#isLooking) return
      this.#isLooking = true
      // What comes in one breath is looked at once.
      setImmediate(() => this.#lookSoon())
    })
    // The tick looks as well, and tries to watch again.
    watcher.on('error', () => {
      watcher.close()
      this.#watcher = null
    })
    this.#watcher = watcher
  }

  #lookSoon(): void {
    this.#isLooking = false
    if (this.#stopped.signal.aborted) return
    try {
      this.#look()
    } catch {
      // The tick says so.
    }
  }

  #beat(): void {
    const [seconds = ''] = readFileSync('/proc/uptime', 'latin1').split(' ')
    this.#lastBeat = `${seconds} ${process.pid}\n`
    this.#write(ALIVE, this.#lastBeat)
  }

  /** So that nobody reads half of it. */
  #write(name: string, text: string): void {
    const draft = this.#path(`${name}.${process.pid}${DRAFT}`)
    writeFileSync(draft, text, { mode: 0o600 })
    renameSync(draft, this.#path(name))
  }

  #look(): void {
    const names = readdirSync(this.#options.directory).slice(0, MAX_SPOOL_FILES)
    const { log } = this.#options
    const present = new Set(names)
    for (const name of [...this.#seen.keys()]) if (!present.has(name)) this.#seen.delete(name)
    for (const name of names) {
      if (name === ALIVE) continue
      const { id = '', kind } = FILE.exec(name)?.groups ?? {}
      const since = this.#seen.get(name)
      if (kind === undefined) this.#remove(name)
      else if (kind === 'answer' && !present.has(`${id}.request`)) this.#remove(name)
      else if (kind !== 'late' && since !== undefined && this.#ticks - since >= LEFT_AFTER_TICKS)
        this.#remove(name)
      else if (kind !== 'request' && kind !== 'late') this.#seen.set(name, since ?? this.#ticks)
      else if (since === undefined && this.#admissions < MAX_ADMISSIONS) {
        this.#seen.set(name, this.#ticks)
        this.#admit(id, name, kind === 'late').catch((err: unknown) => {
          log.error({ err, name, reason: 'INTERNAL' }, 'a new pod could not be looked after')
        })
      }
    }
  }

  #remove(name: string): void {
    this.#seen.delete(name)
    try {
      rmSync(this.#path(name), { force: true, recursive: true })
    } catch (err) {
      this.#options.log.debug({ err, name }, 'a file of the CNI spool cannot be removed')
    }
  }

  async #admit(id: string, name: string, isLate: boolean): Promise<void> {
    const { log } = this.#options
    const request = this.#read(name)
    if (request === null) return
    if (isRefusal(request)) {
      const { code, detail } = request
      log.warn({ file: name, reason: code, detail }, 'a request of the CNI plugin is none')
      if (isLate) this.#remove(name)
      else this.#answer(id, { kind: 'failed', code })
      return
    }
    this.#admissions++
    const askedMs = this.#writtenMs(name)
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(ADMISSION_TIMEOUT_MS)])
    const admission = await this.#options.admit(request, signal).finally(() => this.#admissions--)
    if (this.#stopped.signal.aborted) return // the next agent finds it as we did
    if (!isLate) this.#answer(id, admission)
    else if (isUnknown(admission)) this.#again.add(name)
    else {
      if (isStarted(admission)) this.#options.onLate(request)
      this.#remove(name)
    }
    const waitedMs = Math.round(this.#options.clock.nowMs - askedMs)
    log.info({ ...request.pod, isLate, ...admission, waitedMs }, 'a new pod')
    this.#lookSoon()
  }

  /** When the plugin has asked; NaN when it has given up. */
  #writtenMs(name: string): number {
    return statSync(this.#path(name), { throwIfNoEntry: false })?.mtimeMs ?? Number.NaN
  }

  /** null: it is gone. */
  #read(name: string): ReturnType<typeof parseCniRequest> | null {
    let fd: number
    try {
      fd = openSync(this.#path(name), constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
    } catch {
      return null
    }
    try {
      const bytes = Buffer.alloc(MAX_CNI_REQUEST_BYTES + 1)
      const length = readSync(fd, bytes)
      return parseCniRequest(length > MAX_CNI_REQUEST_BYTES ? '' : bytes.toString('latin1', 0, length))
    } catch {
      return parseCniRequest('')
    } finally {
      closeSync(fd)
    }
  }

  #answer(id: string, admission: Admission): void {
    try {
      this.#write(`${id}.answer`, admission.kind === 'done' ? 'done\n' : `failed ${admission.code}\n`)
    } catch (err) {
      this.#options.log.warn({ err }, 'the CNI plugin cannot be answered')
    }
  }
}

function isUnknown(admission: Admission): boolean {
  return admission.kind === 'failed' && admission.code === 'POD_UNKNOWN'
}

/** A pod of the mesh that runs, or tries to. */
function isStarted(admission: Admission): boolean {
  return admission.kind === 'done' ? admission.isEnrolled : admission.code !== 'NAMESPACE_GONE'
}
