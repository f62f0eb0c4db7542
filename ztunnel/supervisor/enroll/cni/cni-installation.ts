// SPDX-License-Identifier: Apache-2.0
// Keeps our CNI plugin on the node: its file, and its entry in the configuration that the runtime takes. Whoever writes that
// configuration may write it again: it is looked at again and again. remove() leaves both as they were.
import {
  type FSWatcher,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { isRefusal } from '../../../../mesh/errors/refusal.ts'
import type { Clock, ClockTimer } from '../../../../mesh/runtime/clock.ts'
import type { Log } from '../../../../mesh/runtime/log.ts'
import {
  isSameConfiguration,
  isUsable,
  listOfPlugin,
  PLUGIN_NAME,
  type PluginEntry,
  withoutPlugin,
  withPlugin,
} from './conflist.ts'

/** What fs.watch does not tell is seen after this. */
const LOOK_MS = 5_000
/** Others write there as well, and some write again what we have changed: not more often than this. */
const SETTLE_MS = 250
/** Of one file of a configuration; real ones are a thousandth of it. */
const MAX_CONF_BYTES = 1_048_576
/** Files looked at in its directory. */
const MAX_CONF_FILES = 256
/** SPEC libcni ConfFiles: these count, in the order of their names. */
const CONF = /\.(?<kind>conf|conflist|json)$/
/** Appended to a single plugin's file while a list of ours stands for it. */
const SAVED = '.sidestep-saved'
const PLUGIN = new URL('../../../../cni/sidestep-cni', import.meta.url)

/** Where it is installed. */
export interface CniPlace {
  /** '' for: not by us. */
  readonly binDirectory: string
  readonly confDirectory: string
  /** The root of the node's files, by which it is seen that it has a shell; without one no pod would start. */
  readonly hostRoot: string
  readonly entry: PluginEntry
  readonly clock: Clock
  readonly log: Log
}

/** start() … stop(), and remove() when nobody comes after us. */
export class CniInstallation {
  readonly #place: CniPlace
  #watcher: FSWatcher | null = null
  #timer: ClockTimer | null = null
  #isStopped = false
  /** From then on only what is missing is put there: what is other is of the ztunnel that comes after us. */
  #isInstalled = false
  #lastDetail = ''

  constructor(place: CniPlace) {
    this.#place = place
  }

  start(): void {
    if (this.#isStopped) return
    this.sync()
    this.#watch()
    this.#wait(LOOK_MS)
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
    this.#watcher?.close()
  }

  /** Makes it what it should be. Never throws: what fails is tried again. */
  sync(): void {
    try {
      const detail = this.#install()
      if (detail === '') this.#isInstalled = true
      this.#tell(detail)
    } catch (error) {
      this.#tell(error instanceof Error ? error.message : String(error))
    }
  }

  /** Takes both away. Never throws. */
  remove(): void {
    const { binDirectory, confDirectory, log } = this.#place
    try {
      if (confDirectory !== '') for (const { name, isList } of this.#files()) if (isList) this.#takeOut(name)
      // Last: the runtime must not look for what is gone.
      if (binDirectory !== '') rmSync(join(binDirectory, PLUGIN_NAME), { force: true })
      log.info({ binDirectory, confDirectory }, 'the CNI plugin is removed')
    } catch (err) {
      log.warn({ err, reason: 'CNI_CONFIG' }, 'the CNI plugin could not be removed')
    }
  }

  #wait(delayMs: number): void {
    this.#timer?.cancel()
    this.#timer = this.#place.clock.startTimer(delayMs, () => this.start())
  }

  #watch(): void {
    const { confDirectory } = this.#place
    if (confDirectory === '' || this.#watcher !== null) return
    try {
      const watcher = watch(confDirectory, { persistent: false }, () => this.#wait(SETTLE_MS))
      watcher.on('error', () => {
        watcher.close()
        this.#watcher = null
      })
      this.#watcher = watcher
    } catch {
      // sync() has said what is wrong with it.
    }
  }

  /** Says when it is news. */
  #tell(detail: string): void {
    if (detail === this.#lastDetail) return
    this.#lastDetail = detail
    const { log, confDirectory } = this.#place
    if (detail === '') log.info({ confDirectory }, 'the CNI plugin is installed')
    else log.warn({ confDirectory, reason: 'CNI_CONFIG', detail }, 'the CNI plugin is not installed')
  }

  /** Why it is not there; '' when it is. @throws what files throw */
  #install(): string {
    const { binDirectory, confDirectory, hostRoot } = this.#place
    if (lstatSync(join(hostRoot, 'bin/sh'), { throwIfNoEntry: false }) === undefined)
      return 'the node has no shell for it'
    const program = join(binDirectory, PLUGIN_NAME)
    const isKept = this.#isInstalled && statSync(program, { throwIfNoEntry: false })?.isFile() === true
    if (binDirectory !== '' && !isKept) this.#writeIfOther(program, readFileSync(PLUGIN, 'utf8'), 0o755)
    if (confDirectory === '') return ''
    const first = this.#files().find(({ name, isList }) => isUsable(this.#read(name), isList))
    if (first === undefined) return 'there is no CNI configuration yet'
    return first.isList ? this.#putIn(first.name) : this.#putInstead(first.name)
  }

  #putIn(name: string): string {
    const edited = withPlugin(this.#read(name), this.#place.entry, this.#isInstalled)
    if (isRefusal(edited)) return `${name}: ${edited.detail}`
    const path = join(this.#place.confDirectory, name)
    this.#writeIfOther(path, edited, statSync(path).mode & 0o777)
    return ''
  }

  /** A single plugin cannot be chained: a list stands for it until we go. */
  #putInstead(name: string): string {
    const list = listOfPlugin(this.#read(name))
    if (isRefusal(list)) return `${name}: ${list.detail}`
    const edited = withPlugin(list, this.#place.entry)
    if (isRefusal(edited)) return `${name}: ${edited.detail}`
    const path = join(this.#place.confDirectory, name)
    this.#writeIfOther(listNameOf(path), edited, statSync(path).mode & 0o777)
    renameSync(path, `${path}${SAVED}`)
    return ''
  }

  #takeOut(name: string): void {
    const path = join(this.#place.confDirectory, name)
    const before = this.#read(name)
    const text = withoutPlugin(before)
    if (text === before) return
    for (const saved of readdirSync(this.#place.confDirectory)) {
      const original = saved.slice(0, -SAVED.length)
      if (!saved.endsWith(SAVED) || listNameOf(original) !== name) continue
      const list = listOfPlugin(this.#read(saved))
      const isOurs = !isRefusal(list) && isSameConfiguration(list, text)
      if (!isOurs) continue
      renameSync(join(this.#place.confDirectory, saved), join(this.#place.confDirectory, original))
      rmSync(path)
      return
    }
    this.#writeIfOther(path, text, statSync(path).mode & 0o777)
  }

  #files(): readonly { readonly name: string; readonly isList: boolean }[] {
    return readdirSync(this.#place.confDirectory)
      .filter((name) => CONF.test(name))
      .toSorted()
      .slice(0, MAX_CONF_FILES)
      .map((name) => ({ name, isList: name.endsWith('.conflist') }))
  }

  /** '' for what is none, or too large for one. */
  #read(name: string): string {
    const path = join(this.#place.confDirectory, name)
    const found = statSync(path, { throwIfNoEntry: false })
    return found?.isFile() === true && found.size <= MAX_CONF_BYTES ? readFileSync(path, 'utf8') : ''
  }

  /** In one step: a runtime reads all of it or nothing. */
  #writeIfOther(path: string, text: string, mode: number): void {
    const found = statSync(path, { throwIfNoEntry: false })
    if (found !== undefined && (found.mode & 0o777) === mode && readFileSync(path, 'utf8') === text) return
    const draft = `${path}.sidestep-${process.pid}`
    try {
      writeFileSync(draft, text, { mode })
      renameSync(draft, path)
    } catch (error) {
      rmSync(draft, { force: true })
      throw error
    }
  }
}

function listNameOf(name: string): string {
  return name.replace(CONF, '.conflist')
}
