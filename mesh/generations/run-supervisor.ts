// SPDX-License-Identifier: Apache-2.0
// What the entry of every supervisor does: read the options, fill the compile cache and take its own place with it (as the same
// process, without what filling cost), start, obey signals.
import { MeshError } from '../errors/mesh-error.ts'
import { REASONS } from '../errors/reasons.ts'
import { type Log, openLog } from '../runtime/log.ts'
import type { LogLevel } from '../runtime/log-levels.ts'
import { compileCacheDirectory, runFromCompileCache, warmCompileCache } from './compile-cache.ts'

/** A supervisor, as far as its process starts and ends it. */
export interface RunnableSupervisor {
  /** @throws MeshError when it cannot serve */
  start(): Promise<void>
  /** A new data process takes over. */
  upgrade(): void
  stop(): Promise<void>
}

/** One program. */
export interface SupervisedProgram<Options> {
  readonly name: 'ztunnel' | 'waypoint'
  readonly readConfig: (args: readonly string[]) => {
    readonly options: Options
    readonly mistakes: readonly string[]
  }
  /** Of each log entry. */
  readonly logFields: (options: Options) => Readonly<Record<string, string>>
  /** `cache`: the directory of a filled compile cache; null where there is none. */
  readonly open: (
    options: Options,
    args: readonly string[],
    cache: string | null,
    log: Log,
  ) => Promise<RunnableSupervisor>
  /** What it means that it does not start. */
  readonly failure: string
}

/** Runs until a signal ends it; exit code 2 when its options are wrong or it cannot serve. */
export async function runSupervisor<
  Options extends { readonly logLevel: string; readonly adminSocket: string },
>(program: SupervisedProgram<Options>): Promise<void> {
  const args = process.argv.slice(2)
  const { options, mistakes } = program.readConfig(args)
  if (mistakes.length > 0) {
    for (const mistake of mistakes) process.stderr.write(`${mistake}\n`)
    process.exit(2)
  }
  const fields = { component: 'supervisor', ...program.logFields(options) }
  const log = openLog(options.logLevel as LogLevel, fields) // as: checked by its choices
  // The environment's, of who has started us: this process itself, a moment ago, or somebody who keeps one for longer.
  const cache = process.env.NODE_COMPILE_CACHE ?? compileCacheDirectory(options.adminSocket, program.name)
  const isWarm = await warmCompileCache(cache, program.name, log)
  if (isWarm) runFromCompileCache(cache)
  const supervisor = await program.open(options, args, isWarm ? cache : null, log)
  try {
    await supervisor.start()
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    const { code, detail } = error
    log.fatal({ reason: code, detail, fix: REASONS[code].fix }, program.failure)
    process.exit(2)
  }
  log.info({ config: options }, 'supervisor started')
  process.on('SIGHUP', () => supervisor.upgrade())
  let isEnding = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      if (isEnding) return
      isEnding = true
      log.info({ signal }, 'stopping')
      void supervisor.stop().then(() => process.exit(0))
    })
}
