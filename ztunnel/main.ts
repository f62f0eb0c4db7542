#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Entry of the data process. Started by the supervisor with the descriptor channel as descriptor 3.
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
  const log = openLog(options.logLevel as LogLevel, { component: 'ztunnel', node: options.nodeName }) // as: checked by its choices
  const app = new App(options, log, CHANNEL_FD)
  await app.start()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => void app.drain().then(() => process.exit(0)))
  }
}
