// SPDX-License-Identifier: Apache-2.0
// Finds h2spec for the interop tests: H2SPEC_BIN, or the version that test/interop/h2spec/go.mod pins. As a program it
// prints the path.
import { fileURLToPath } from 'node:url'
import { goProgram } from './go-program.ts'

/** The path of the program. @throws Error when it can neither be found nor built */
export async function h2specBinary(): Promise<string> {
  return await goProgram({
    name: 'h2spec',
    module: fileURLToPath(new URL('../test/interop/h2spec/', import.meta.url)),
    args: ['build', 'github.com/summerwind/h2spec/cmd/h2spec'],
    variable: 'H2SPEC_BIN',
    deadlineMs: 300_000, // a few modules over a slow line, and their compilation on a busy machine
  })
}

if (import.meta.main) process.stdout.write(`${await h2specBinary()}\n`)
