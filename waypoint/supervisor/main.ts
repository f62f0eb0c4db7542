#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Entry of the waypoint's supervisor: the process that outlives every version of the data process. It parses no byte of a peer.
// It fills the compile cache, then takes its own place with it: as the same process, without what filling cost.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { REASONS } from '../../mesh/errors/reasons.ts'
import {
  compileCacheDirectory,
  runFromCompileCache,
  warmCompileCache,
} from '../../mesh/generations/compile-cache.ts'
import { openLog } from '../../mesh/runtime/log.ts'
import type { LogLevel } from '../../mesh/runtime/log-levels.ts'
import { readConfig } from '../config.ts'

// The warm-up imports this file only to have it in the compile cache.
if (import.meta.main) {
  const { options, mistakes } = readConfig(process.argv.slice(2))
  if (mistakes.length > 0) {
    for (const mistake of mistakes) process.stderr.write(`${mistake}\n`)
    process.exit(2)
  }
  const log = openLog(options.logLevel as LogLevel, { component: 'supervisor', pod: options.podName }) // as: checked by its choices
  const cache = compileCacheDirectory(options.adminSocket, 'waypoint')
  const isWarm = await warmCompileCache(cache, 'waypoint', log)
  if (isWarm) runFromCompileCache(cache)
  const { Supervisor } = await import('./supervisor.ts')
  const supervisor = new Supervisor(options, process.argv.slice(2), isWarm ? cache : null, log)
  try {
    await supervisor.start()
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    const { code, detail } = error
    log.fatal({ reason: code, detail, fix: REASONS[code].fix }, 'this waypoint cannot serve')
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
