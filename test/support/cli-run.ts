// SPDX-License-Identifier: Apache-2.0
// A command of the CLI in this process: what it prints, what it says beside, how it ends.
import type { Fleet } from '../../cli/fleet/fleet.ts'
import type { CommandIo, OutputFormat } from '../../cli/output.ts'
import { NOW_MS } from './node-views.ts'

/** What came of it. */
export interface CommandRun {
  readonly code: number
  readonly output: string
  readonly talk: string
}

/** Runs a command on a fleet. */
export async function runCommand(
  fleet: Fleet,
  command: (io: CommandIo) => Promise<number>,
  format: OutputFormat = 'table',
  interrupted: AbortSignal = new AbortController().signal,
): Promise<CommandRun> {
  let output = ''
  let talk = ''
  const io: CommandIo = {
    write: (text) => {
      output += text
    },
    warn: (text) => {
      talk += text
    },
    drained: async () => {},
    untilInterrupted: () => interrupted,
    format,
    openFleet: async () => fleet,
    nowMs: () => NOW_MS,
  }
  const code = await command(io)
  return { code, output, talk }
}
