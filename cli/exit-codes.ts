// SPDX-License-Identifier: Apache-2.0
// How a command ends. API: scripts depend on these numbers.

/** OK: the answer is printed, and it is good. */
export const EXIT_OK = 0
/** The answer is printed, and it is not good: a pair that is refused or fails, a certificate in trouble. */
export const EXIT_FINDING = 1
/** The command was not understood. */
export const EXIT_USAGE = 2
/** Nobody answered, or nobody who knows. */
export const EXIT_UNREACHABLE = 3

/** What commands throw; `message` is printed as it is. */
export class CliError extends Error {
  readonly exitCode: typeof EXIT_USAGE | typeof EXIT_UNREACHABLE

  constructor(exitCode: CliError['exitCode'], message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'CliError'
    this.exitCode = exitCode
  }
}
