// SPDX-License-Identifier: Apache-2.0
// What every command is given: the fleet, where results and talk go, and in which form results are wanted. Injected, so
// that tests run commands without processes.
import type { Fleet } from './fleet/fleet.ts'

/** How a result is printed. JSON is for programs: it is exact, and JSON.stringify escapes what a terminal would obey. */
export type OutputFormat = 'table' | 'json'

/** Options of all commands. */
export interface CommonFlags {
  readonly output: OutputFormat
  readonly node: readonly string[]
  readonly dump?: string
  readonly demo?: boolean
  readonly kubeconfig?: string
  readonly context?: string
}

/** The surroundings of a command. */
export interface CommandIo {
  /** Results. */
  write(text: string): void
  /** Resolves when whoever reads the results has taken enough of them to go on. */
  drained(): Promise<void>
  /** Talk. */
  warn(text: string): void
  readonly format: OutputFormat
  openFleet(): Promise<Fleet>
  /** For commands that go on: Ctrl-C ends them in order from now on. */
  untilInterrupted(): AbortSignal
  /** Epoch ms. */
  nowMs(): number
}

/** Prints a result in the form that is wanted. */
export function print<T>(io: CommandIo, value: T, asText: (value: T) => string): void {
  io.write(io.format === 'json' ? `${escaped(JSON.stringify(value, null, 2))}\n` : asText(value))
}

/** One line of JSON. */
export function jsonLine(value: unknown): string {
  return `${escaped(JSON.stringify(value))}\n`
}

/** JSON leaves DEL, C1 and bidirectional characters as they are: the same text, without what a terminal obeys. */
function escaped(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
