// SPDX-License-Identifier: Apache-2.0
// Finds the conformance suite of the Gateway API: GATEWAY_CONFORMANCE_BIN, or the version that
// test/conformance/suite/go.mod pins. As a program it prints the path.
import { fileURLToPath } from 'node:url'
import { goProgram } from './go-program.ts'

/** The path of the program. @throws Error when it can neither be found nor built */
export async function gatewayConformanceBinary(): Promise<string> {
  return await goProgram({
    name: 'gateway-conformance',
    module: fileURLToPath(new URL('../test/conformance/suite/', import.meta.url)),
    args: ['test', '-c', '.'],
    variable: 'GATEWAY_CONFORMANCE_BIN',
    deadlineMs: 900_000, // the client of Kubernetes is large: minutes on a busy machine
  })
}

if (import.meta.main) process.stdout.write(`${await gatewayConformanceBinary()}\n`)
