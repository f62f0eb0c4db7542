// SPDX-License-Identifier: Apache-2.0
// Runs this program again under another one, as if it were the same process: same terminal, signals passed on, same
// exit code. (A process with threads, which Node always is, cannot enter a user namespace itself.)
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/** Resolves with the exit code. */
export function runUnder(program: string, args: readonly string[]): Promise<number> {
  const child = spawn(program, args, { stdio: 'inherit' })
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => child.kill(name))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    )
  })
}
