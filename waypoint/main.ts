#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Entry of the waypoint's data process. Started by the supervisor with the descriptor channel as descriptor 3.
import { limitArenas, returnLargeBlocks } from '../mesh/reactor/trim-memory.ts'
import { openLog } from '../mesh/runtime/log.ts'
import type { LogLevel } from '../mesh/runtime/log-levels.ts'
import { App } from './app.ts'
import { readConfig } from './config.ts'

const CHANNEL_FD = 3

// The warm-up imports this file only to have it in the compile cache.
if (import.meta.main) {
  const { options, mistakes } = readConfig(process.argv.slice(2))
  if (mistakes.length > 0) {
    for (const mistake of mistakes) process.stderr.write(`${mistake}\n`)
    process.exit(2)
  }
  limitArenas(options.workerCount + 1)
  returnLargeBlocks()
  const log = openLog(options.logLevel as LogLevel, { component: 'waypoint', pod: options.podName }) // as: checked by its choices
  const app = new App(options, log, CHANNEL_FD)
  await app.start()
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => void app.drain(options.drainSeconds).then(() => process.exit(0)))
}
