#!/usr/bin/env -S node --disable-sigusr1 --heap-growing-percent=20 --max-semi-space-size=4 --no-warnings
// SPDX-License-Identifier: Apache-2.0
// Entry of the controller.
import { returnLargeBlocks } from '../mesh/reactor/trim-memory.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import { openLog } from '../mesh/runtime/log.ts'
import type { LogLevel } from '../mesh/runtime/log-levels.ts'
import { App } from './app.ts'
import { readConfig } from './config.ts'
import { openSources } from './sources.ts'

const { options, mistakes } = readConfig(process.argv.slice(2))
if (mistakes.length > 0) {
  for (const mistake of mistakes) process.stderr.write(`${mistake}\n`)
  process.exit(2)
}
const log = openLog(options.logLevel as LogLevel, { component: 'controller' }) // as: checked by its choices
returnLargeBlocks()
/** Null while it starts, which may take as long as its rights do: nobody is served then. */
let app: App | null = null
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => void Promise.resolve(app?.stop()).then(() => process.exit(0)))
}
app = await start().catch((err: unknown) => {
  log.fatal({ err }, 'the controller cannot start')
  process.exit(1)
})

async function start(): Promise<App> {
  const made = new App({
    config: options,
    ...(await openSources(options, systemClock)),
    clock: systemClock,
    log,
  })
  await made.start()
  return made
}
