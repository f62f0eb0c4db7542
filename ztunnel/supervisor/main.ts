#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Entry of the supervisor: the process that outlives every version of the data process. It parses no byte of a peer.
import { openLog } from '../../mesh/runtime/log.ts'
import type { LogLevel } from '../../mesh/runtime/log-levels.ts'
import { readConfig } from '../config.ts'
import { Supervisor } from './supervisor.ts'

const { options, mistakes } = readConfig(process.argv.slice(2))
if (mistakes.length > 0) {
  for (const mistake of mistakes) process.stderr.write(`${mistake}\n`)
  process.exit(2)
}
const log = openLog(options.logLevel as LogLevel, { component: 'supervisor', node: options.nodeName }) // as: checked by its choices
const supervisor = new Supervisor(options, process.argv.slice(2), log)
await supervisor.start()
log.info({ config: options }, 'supervisor started')

let isEnding = false
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (isEnding) return
    isEnding = true
    log.info({ signal }, 'stopping')
    void supervisor.stop().then(() => process.exit(0))
  })
}
